// The sandbox's first process: pid 1 of its pid namespace, a child of loopfs.
#pragma once

#include <csignal>
#include <string>
#include <vector>

#include "base/fd.h"
#include "sandbox/sandbox.h"

namespace loopfs::sandbox {

// How the caller of Sandbox::prepare() had its signals; the command gets them back.
struct SignalState {
  sigset_t mask = {};
  struct sigaction child = {};
};

struct BindMount {
  Bind bind;
  Fd mount;  // detached
  bool directory = false;
};

// What the set-up process hands to init.
struct InitialState {
  const Options* options = nullptr;
  SignalState signals;
  std::string working_directory;  // empty: unknown, stay
  int control = -1;               // the sandbox's end of the control socket
  Fd root;                        // what becomes "/"
  bool pivot = false;             // it is another root than the present one
  Fd dev;                         // the sandbox's /dev
  std::vector<BindMount> binds;
};

// Finishes the mounts that need the new pid namespace, then does what loopfs asks for over the control socket,
// starts the command, reaps, and ends with the command's status. When loopfs is gone, ends at once.
[[noreturn]] void run_init(InitialState state);

}  // namespace loopfs::sandbox
