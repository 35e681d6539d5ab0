// Makes porters.
#pragma once

#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::porter {

// A process with one thread and nothing open, made before the server has anything. What it forks has nothing either: no
// descriptor of a device, whose last close others wait for, and no lock that another thread held. It and its porters
// are killed when the server ends. Thread-safe.
class ForkServer {
 public:
  // The calling process must be single-threaded. Errors: those of fork(2).
  static Result<std::unique_ptr<ForkServer>> start();

  struct Child {
    Fd socket;  // to porter::serve()
    Fd pidfd;
  };
  // Errors: EAGAIN no process is to be had; EPIPE the fork server is gone.
  Result<Child> fork();

 private:
  explicit ForkServer(Fd socket) : socket_(std::move(socket)) {}

  std::mutex mutex_;  // one request at a time
  const Fd socket_;
};

}  // namespace loopfs::porter
