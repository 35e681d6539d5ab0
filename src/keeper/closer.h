// Closes descriptors elsewhere.
#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"

namespace loopfs::keeper {

// A thread that closes descriptors, because close(2) may wait for a file server, which may be the very server
// that the keeper has to start again: FUSE sends FLUSH at each close of a file. The thread does nothing else,
// and may be stuck for good.
class Closer {
 public:
  Closer();
  ~Closer();
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;

  void close(std::vector<Fd> fds);

  // Descriptors that are still open.
  size_t backlog() const;

 private:
  struct State;
  static void work(const std::shared_ptr<State>& state);
  const std::shared_ptr<State> state_;  // shared with the thread, which may outlive this
};

}  // namespace loopfs::keeper
