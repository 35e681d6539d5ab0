// Processes and threads by pidfd: pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2).
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

// A pidfd of the thread `tid` where the kernel has PIDFD_THREAD (6.9), else of its thread group.
// Errors: ESRCH if it is gone.
Result<Fd> pidfd_of_thread(pid_t tid);

// A pidfd of the process `pid` (a thread group leader).
Result<Fd> pidfd_of_process(pid_t pid);

// A duplicate of descriptor `fd` of the process: the same open file description, close-on-exec here.
// Errors: EBADF if the process has no such descriptor, EPERM without ptrace rights, ESRCH if it is gone.
Result<Fd> take_fd(int pidfd, int fd);

// The process's number in the caller's pid namespace, which means something only as long as it is not reaped.
// Errors: ESRCH if it is reaped or not visible from there.
Result<pid_t> pid_of_pidfd(int pidfd);

Result<void> send_signal(int pidfd, int signal);

}  // namespace loopfs::sys
