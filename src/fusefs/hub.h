// Reads the requests of many FUSE file systems.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/fd.h"
#include "base/threads.h"

namespace loopfs::fusefs {

// The thread that has read a request performs it, in the name of the lane of its file system, while another thread
// reads on: an answer costs no change of threads. One whose requests block, or that sends them without end, keeps
// only itself waiting: what its lane has no room for is queued there.
class Hub {
 public:
  static constexpr size_t kMostWrite = 64 << 10;  // bytes of one WRITE

  struct Client {
    std::shared_ptr<base::Lane> lane;
    std::function<void(std::span<std::byte>)> serve;  // one request, on the lane
    std::function<void()> gone;                       // the mount is no more; once, on the lane
  };

  // `threads`: borrowed; where it reads, and the lanes are.
  static Result<std::unique_ptr<Hub>> create(base::Threads* threads);
  ~Hub();  // as stop()

  // Nothing is read any more.
  void stop();

  // `channel`: an open /dev/fuse, mounted; borrowed until remove() or gone().
  Result<void> add(int channel, Client client);
  // Once it returns, nothing is read from the channel any more; what has been read is still on the lane.
  void remove(int channel);

 private:
  struct State;
  explicit Hub(std::shared_ptr<State> state) : state_(std::move(state)) {}

  const std::shared_ptr<State> state_;  // shared with the threads: one may be in a request when the hub ends
};

}  // namespace loopfs::fusefs
