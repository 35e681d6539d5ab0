// What proc(5) tells about a thread: the system call it is in, its capabilities, its user namespace, its
// files.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace loopfs::sys {

// A line of /proc/TID/syscall.
struct SystemCall {
  int64_t number = -1;  // -1: it sleeps in the kernel outside of a system call (io_uring's workers)
  std::array<uint64_t, 6> arguments = {};
  uint64_t stack_pointer = 0;
  uint64_t program_counter = 0;
  bool operator==(const SystemCall&) const = default;

  // A thread that the kernel has made for io_uring. It never comes out of the kernel, and shows the call that its
  // process was in when it was made, whatever it does.
  bool of_io_uring() const { return number < 0 || (stack_pointer == 0 && program_counter == 0); }
};

// None for "running" and for anything else that is no such line.
std::optional<SystemCall> parse_system_call(std::string_view line);

// The call in which the thread `tid` sleeps. A thread that has just sent us a request may not be asleep yet:
// waits for it, at most about 100 ms. Errors: ESRCH gone, EPERM or EACCES without ptrace rights, ETIMEDOUT it
// runs.
Result<SystemCall> system_call_of(pid_t tid);

// The same without waiting. None: it runs at this moment.
// Errors: ESRCH gone, EPERM or EACCES without ptrace rights.
Result<std::optional<SystemCall>> system_call_now(pid_t tid);

// The function of the kernel that the thread sleeps in; "0": in none, it runs. Errors: ESRCH, EPERM or EACCES.
Result<std::string> wait_channel_of(pid_t tid);

// Nanoseconds that the thread has spent on processors, in user mode or in the kernel. Errors: ESRCH.
Result<uint64_t> run_time_of(pid_t tid);

struct ThreadStatus {
  pid_t process = 0;                    // its thread group
  uint64_t effective_capabilities = 0;  // CapEff: one bit each
  unsigned seccomp_filters = 0;         // 0 also where the kernel does not tell (before 5.9)
};
std::optional<ThreadStatus> parse_status(std::string_view text);

// Errors: ESRCH.
Result<ThreadStatus> status_of(pid_t tid);

// Identifies a namespace for as long as somebody keeps it alive.
struct NamespaceId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const NamespaceId&) const = default;
};
Result<NamespaceId> user_namespace_of(pid_t tid);
// The one that the process itself is in.
Result<NamespaceId> pid_namespace_of(pid_t pid);
Result<NamespaceId> namespace_id(int namespace_fd);

// Where /proc/TID/fd/N leads: a path as the mount namespace of the file shows it, with " (deleted)" behind
// it if it has been unlinked. Errors: ENOENT no such descriptor.
Result<std::string> path_of_fd(pid_t tid, int fd);
// The same of a descriptor of this process.
Result<std::string> path_of_own_fd(int fd);

// Of /proc/TID/fd/N: O_*, also O_CLOEXEC. Errors: ENOENT no such descriptor.
Result<int> flags_of_fd(pid_t tid, int fd);

}  // namespace loopfs::sys
