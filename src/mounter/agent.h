// The process that enters sandboxes for the supervisor.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/protocol.h"

namespace loopfs::mounter {

// setns(2) into a user namespace wants a process with one thread, which a server is not. So a child is forked
// before there are threads; it forks a worker for each request, and is the parent of all FUSE programs.
// When the owner ends, by SIGKILL too, the agent sees its socket close, ends the sandbox, and lets the FUSE
// programs finish: with the sandbox's mounts gone they write out what they hold and exit.
class Agent {
 public:
  // How long FUSE programs may take to finish before they are killed.
  static constexpr int kSecondsToFinish = 10;

  // Forks. The calling process must be single-threaded; its main thread must live as long as the agent.
  static Result<std::unique_ptr<Agent>> start();
  ~Agent();

  // The sandbox's first process, which ends with the agent's owner. Borrowed.
  Result<void> set_init(int pidfd);

  struct Answer {
    Reply reply;
    std::vector<Fd> fds;
  };

  // Hands the request to a worker and waits for its reply. `fds`: borrowed; those of worker.h from
  // kUserNamespace on. Thread-safe: requests do not wait for each other.
  // Errors: EIO the worker died, EPIPE the agent is gone.
  Result<Answer> ask(const Request& request, const std::vector<int>& fds);

  // Ends the sandbox, if it has not ended, and returns when the last FUSE program has finished or been
  // killed.
  void stop();

 private:
  Agent(pid_t pid, Fd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid_;
  std::mutex mutex_;  // guards socket_
  Fd socket_;
};

}  // namespace loopfs::mounter
