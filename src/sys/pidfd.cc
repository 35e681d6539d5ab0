#include "sys/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "sys/uapi.h"

namespace loopfs::sys {
namespace {

// The thread group of `tid`, for kernels whose pidfds are of whole processes only.
pid_t thread_group_of(pid_t tid) {
  std::ifstream status(fmt::format("/proc/{}/status", tid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Tgid:")) return static_cast<pid_t>(std::stol(line.substr(5)));
  }
  return tid;
}

}  // namespace

Result<Fd> pidfd_of_thread(pid_t tid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, tid, PIDFD_THREAD)));
  if (fd.valid()) return fd;
  if (errno != EINVAL) return errno_fail("pidfd_open thread {}", tid);
  return pidfd_of_process(thread_group_of(tid));
}

Result<Fd> pidfd_of_process(pid_t pid) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd.valid()) return errno_fail("pidfd_open {}", pid);
  return fd;
}

Result<Fd> take_fd(int pidfd, int fd) {
  Fd taken(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
  if (!taken.valid()) return errno_fail("pidfd_getfd {}", fd);
  return taken;
}

Result<pid_t> pid_of_pidfd(int pidfd) {
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", pidfd));
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("Pid:")) continue;
    const long pid = std::strtol(line.c_str() + 4, nullptr, 10);
    if (pid > 0) return static_cast<pid_t>(pid);
  }
  return fail(ESRCH, "number of a pidfd");
}

Result<void> send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0) {
    return errno_fail("pidfd_send_signal {}", signal);
  }
  return {};
}

}  // namespace loopfs::sys
