// Counts what is read from a device and written to it, as the kernel's block layer does.
#pragma once

#include <array>
#include <atomic>
#include <chrono>

#include "sys/loop_device.h"

namespace loopfs::engine {

// In the order of Documentation/block/stat.rst: requests, merges, sectors and milliseconds of each kind. Thread-safe.
class IoCounters {
 public:
  enum class Kind : uint8_t { kRead, kWrite, kDiscard, kFlush };

  // One request from its construction to its end.
  class Request {
   public:
    explicit Request(IoCounters& counters) : counters_(counters) { ++counters_.in_flight_; }
    ~Request() { --counters_.in_flight_; }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    void done(Kind kind, uint64_t bytes);

   private:
    IoCounters& counters_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  };

  sys::IoStatistics statistics() const;

 private:
  struct Sums {
    std::atomic<uint64_t> requests = 0, sectors = 0, microseconds = 0;
  };
  std::array<Sums, 4> sums_;
  std::atomic<unsigned> in_flight_ = 0;
};

}  // namespace loopfs::engine
