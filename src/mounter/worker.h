// One request of the supervisor, done in the namespaces of the process that it is for.
#pragma once

#include <vector>

#include "base/fd.h"
#include "mounter/protocol.h"

namespace loopfs::mounter {

// The order of the descriptors that come with a request.
enum RequestFd : size_t {
  kReplySocket,
  kUserNamespace,
  kMountNamespace,
  kRootDirectory,
  kWorkingDirectory,
  kPidNamespace,
  kCallerFds,  // how many every request has
  kListener = kCallerFds,
  kImage,
};

// Runs in a process of its own, single-threaded, forked for this. Sends the reply and returns.
void serve_request(const Request& request, std::vector<Fd> fds);

}  // namespace loopfs::mounter
