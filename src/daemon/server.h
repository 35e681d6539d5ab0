// The server process of loopfsd.
#pragma once

#include <string>

namespace loopfs::daemon {

struct ServerOptions {
  std::string config;              // file; empty: the usual one
  uint32_t first_device = 100000;  // the lowest number of kernel devices that it makes
  int store = -1;                  // descriptor of the keeper's socket
  bool silent = false;             // logs until it serves, and then no more
};

// Serves until SIGTERM, SIGINT (0) or SIGUSR1 (keeper::kReplaceStatus). Returns the exit status:
// exit_status() if it could not begin to.
int serve(const ServerOptions& options);

}  // namespace loopfs::daemon
