// What to do about a machine on which a sandbox cannot be made. Pure.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"

namespace loopfs::sandbox {

// Where the making of a sandbox can fail for a reason that lies in the machine.
enum class Step {
  kUserNamespace,
  kIdMaps,
  kMount,
  kOpenFuse,
  kMountFuse,
  kMountProc,
  kRoot,            // another root, for a FUSE program
  kCallersSyscall,  // the three that the server does to processes of the sandbox
  kCallersMemory,
  kCallersDescriptor,
};

struct MachineFacts {
  std::optional<long> most_user_namespaces;       // /proc/sys/user/max_user_namespaces
  std::optional<long> unprivileged_userns_clone;  // /proc/sys/kernel/unprivileged_userns_clone
  std::optional<long> apparmor_restricts_userns;  // /proc/sys/kernel/apparmor_restrict_unprivileged_userns
  bool root = false;                              // the caller is root where it stands
  std::optional<long> ptrace_scope;               // /proc/sys/kernel/yama/ptrace_scope
};

MachineFacts read_machine_facts();

// What helps against the errno `code` of that step; empty if nothing is known to.
std::string remedy_for(int code, Step step, const MachineFacts& facts);

// The error with a remedy in brackets behind its act, where there is one.
Error with_remedy(const Error& error, Step step, const MachineFacts& facts);

// The same on a result: adds nothing to a success.
template <typename T>
Result<T> explained(Result<T> result, Step step) {
  if (!result) return tl::unexpected<Error>(with_remedy(result.error(), step, read_machine_facts()));
  return result;
}

}  // namespace loopfs::sandbox
