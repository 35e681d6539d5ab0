// A process that closes what may take for ever to close.
#pragma once

#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

// A child of this process, and a child of that one for each thing to be closed, which may be stuck for good. It is there from
// the start, since a fork of this process later would have copies of all its descriptors, and keep them open. It ends with
// this object or this process. Thread-safe.
class ClosingProcess {
 public:
  // Of a process with one thread and few descriptors yet. Errors: those of fork(2) and socketpair(2).
  static Result<ClosingProcess> start();

  // Returns at once, and is never who drops the last reference. Where the process does not take it, `fd` stays open.
  void close(Fd fd);

 private:
  explicit ClosingProcess(Fd channel) : state_(std::make_unique<State>(std::move(channel))) {}

  struct State {
    explicit State(Fd channel_) : channel(std::move(channel_)) {}
    const Fd channel;
    std::mutex mutex;  // of the two messages of one close()
  };
  std::unique_ptr<State> state_;
};

}  // namespace loopfs::sys
