// What happens to instances and devices, for whoever wants to follow it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace loopfs::daemon {

struct Event {
  std::string what;  // "mount", "unmount", "add", "bind", "clear", "remove"
  uint64_t instance = 0;
  std::optional<uint32_t> device;  // N of the instance's loopN
  uint32_t kernel_device = 0;      // K of the host's loopK; 0: none
  uint64_t microseconds = 0;       // since the epoch
  uint64_t lost = 0;               // events before this one that the reader was too slow for
};

// Thread-safe. A reader that does not read loses events, and nobody waits for it.
class Events {
 public:
  class Reader {
   public:
    // None after `patience`.
    std::optional<Event> next(std::chrono::milliseconds patience);

   private:
    friend class Events;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<Event> queue_;
    uint64_t lost_ = 0;
  };

  std::shared_ptr<Reader> follow();
  void emit(Event event);

 private:
  std::mutex mutex_;  // guards readers_
  std::list<std::weak_ptr<Reader>> readers_;
};

}  // namespace loopfs::daemon
