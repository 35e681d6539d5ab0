#include "engine/io_counters.h"

#include "instance/settings.h"

namespace loopfs::engine {

void IoCounters::Request::done(Kind kind, uint64_t bytes) {
  const auto taken = std::chrono::steady_clock::now() - begin_;
  Sums& sums = counters_.sums_[static_cast<size_t>(kind)];
  ++sums.requests;
  sums.sectors += bytes / instance::kSectorSize;
  sums.microseconds +=
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(taken).count());
}

sys::IoStatistics IoCounters::statistics() const {
  sys::IoStatistics all{};
  constexpr size_t kAt[] = {0, 4, 11, 15};  // read, write, discard, flush
  uint64_t total = 0;
  for (size_t kind = 0; kind < sums_.size(); ++kind) {
    const uint64_t milliseconds = sums_[kind].microseconds / 1000;
    const bool flush = kind == static_cast<size_t>(Kind::kFlush);  // has neither merges nor sectors
    all[kAt[kind]] = sums_[kind].requests;
    if (!flush) all[kAt[kind] + 2] = sums_[kind].sectors;
    all[kAt[kind] + (flush ? 1 : 3)] = milliseconds;
    total += milliseconds;
  }
  all[8] = in_flight_;
  all[9] = all[10] = total;  // the time in which there was any is not measured: the sum is what it is at most
  return all;
}

}  // namespace loopfs::engine
