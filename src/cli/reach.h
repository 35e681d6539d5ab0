// What the server of an instance does to processes of the sandbox, and what to say where it may not.
#pragma once

#include "base/error.h"
#include "sandbox/remedy.h"
#include "sys/probe.h"

namespace loopfs::cli {

struct Reach {
  const char* call;
  sandbox::Step step;
  int sys::ForeignProcessProbe::*error;
};

inline constexpr Reach kReaches[] = {
    {"/proc/PID/syscall", sandbox::Step::kCallersSyscall, &sys::ForeignProcessProbe::read_syscall},
    {"process_vm_readv", sandbox::Step::kCallersMemory, &sys::ForeignProcessProbe::read_memory},
    {"pidfd_getfd", sandbox::Step::kCallersDescriptor, &sys::ForeignProcessProbe::take_fd},
};

// Errors: of the first that failed, with the remedy.
Result<void> check_reach(const sys::ForeignProcessProbe& probe);

}  // namespace loopfs::cli
