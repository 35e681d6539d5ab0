// Child processes that outlive the one that makes them, and what they give up.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

struct sock_filter;

namespace loopfs::sys {

struct Child {
  pid_t pid = 0;  // 0 in the child itself
  Fd pidfd;
};

// As fork(2), with CLONE_* `flags`, but the child is a child of the caller's parent, who reaps it. The caller
// must be single-threaded.
Result<Child> fork_for_parent(unsigned long flags);

// Leaves the calling process no capability but those in `kept` (CAP_*), now and after execve(2), also as uid
// 0, and no way to gain others. Needs CAP_SETPCAP in its user namespace.
Result<void> limit_capabilities(const std::vector<int>& kept);

// The effective capabilities of the thread `tid`, one bit each, in its own user namespace: capget(2), which waits for
// nobody. /proc/TID/status, which tells them too, may be the last to drop the thread's memory, and with it files of
// whatever file system. Errors: ESRCH.
Result<uint64_t> effective_capabilities_of(pid_t tid);

// Whether the process, a child of the caller's, has ended in its first thread and was not waited for; others of its threads may
// be there still.
bool is_zombie(pid_t pid);

// Makes every descriptor from `first` on close at execve(2).
Result<void> close_from_at_exec(unsigned first);

// Closes every descriptor but `kept`, those that objects own too: for a child that will not return from its
// fork.
Result<void> close_all_except(int kept);

// Lets the calling process, and what it starts from here on, open as many files as it may.
void raise_descriptor_limit();

// The BPF program of a libseccomp filter context.
Result<std::vector<sock_filter>> compile_filter(void* context);

}  // namespace loopfs::sys
