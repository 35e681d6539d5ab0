// The set-up process: makes the sandbox's namespaces and mounts, then forks init beside itself and ends.
#pragma once

#include "sandbox/init.h"

namespace loopfs::sandbox {

// Runs in a fresh child of loopfs, single-threaded. Of `state` it needs options, signals, working_directory and
// control. It stays in loopfs's pid namespace: the kernel numbers the callers in FUSE requests as the process
// that mounts does. It reports over the control socket: kNamespaces (waits for kMapped), the channels, kTree,
// kInit; or kFailed.
[[noreturn]] void run_setup(InitialState state);

}  // namespace loopfs::sandbox
