// Reads the requests of many FUSE file systems on one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/threads.h"

namespace loopfs::fusefs {

// Only reads: each request is performed on the lane of its file system, so one whose requests block, or that
// sends them without end, keeps only itself waiting.
class Hub {
 public:
  static constexpr size_t kMostWrite = 128 << 10;  // bytes of one WRITE

  struct Client {
    std::shared_ptr<base::Lane> lane;
    std::function<void(std::span<std::byte>)> serve;  // one request, on the lane
    std::function<void()> gone;                       // the mount is no more; once, on the lane
  };

  static Result<std::unique_ptr<Hub>> create();
  ~Hub();  // as stop()

  // Nothing is read any more.
  void stop();

  // `channel`: an open /dev/fuse, mounted; borrowed until remove() or gone().
  Result<void> add(int channel, Client client);
  // Once it returns, nothing is read from the channel any more; what has been read is still on the lane.
  void remove(int channel);

 private:
  explicit Hub(Fd poll, Fd wake);
  struct Entry;
  void run();
  void read_one(const std::shared_ptr<Entry>& entry);
  void set_reading(Entry& entry, bool reading);

  const Fd poll_, wake_;
  std::mutex mutex_;  // guards entries_ and what they say of themselves; held while a request is read
  std::map<int, std::shared_ptr<Entry>> entries_;
  std::vector<std::byte> buffer_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace loopfs::fusefs
