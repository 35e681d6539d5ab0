// The first process of loopfsd: makes the listening socket, and becomes the keeper.
#pragma once

#include <cstdint>
#include <string>

namespace loopfs::daemon {

struct KeepOptions {
  std::string config;    // file; empty: the usual one
  std::string socket;    // path; empty: the configured one
  std::string pid_file;  // empty: none
  uint32_t first_device = 100000;
  bool foreground = false;
};

// Returns the exit status. Without `foreground` the calling process returns as soon as the daemon serves, with 0, or with
// its status if that ends before. Until then the daemon writes to the caller's standard error.
int keep(const KeepOptions& options);

}  // namespace loopfs::daemon
