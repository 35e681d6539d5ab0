// `loopfs run`: a command in a sandbox with an instance of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/sandbox.h"

namespace loopfs::cli {

struct RunOptions {
  std::vector<std::string> command;  // at least one word
  std::string root;                  // --root: another root file system; empty: the host's
  std::vector<sandbox::Bind> binds;  // --bind, in order; both paths absolute
  std::optional<uint32_t> max;       // --max: devices of the instance
  std::string engine = "user";       // --engine: who serves the devices; "kernel": loopfsd
  std::string socket = "/run/loopfs/io.loopfs.Manager";  // --socket: of loopfsd
  std::string config;  // --config: read in place of the user's and the system's file; empty: those
  bool quiet = false;  // -q: nothing but errors of loopfs itself on stderr
};

// Returns the exit status: the command's own, 128+n if signal n killed it, 1 if it could not be started.
// Errors are printed here, once.
int run(const RunOptions& options);

}  // namespace loopfs::cli
