// One mount of a device at a time: who comes second finds, as in the kernel, the superblock of the first.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>

namespace loopfs::supervisor {

// Thread-safe.
class Turns {
 public:
  // Waits for those of the same device's node, by its st_dev and st_ino, that came before.
  class Turn {
   public:
    Turn(Turns& turns, dev_t instance, ino_t inode) : turns_(turns), key_(instance, inode) {
      std::unique_lock lock(turns_.mutex_);
      turns_.over_.wait(lock, [this] { return !turns_.taken_.contains(key_); });
      turns_.taken_.insert(key_);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      const std::lock_guard lock(turns_.mutex_);
      turns_.taken_.erase(key_);
      turns_.over_.notify_all();
    }

   private:
    Turns& turns_;
    std::pair<dev_t, ino_t> key_;
  };

 private:
  std::mutex mutex_;  // guards taken_
  std::condition_variable over_;
  std::set<std::pair<dev_t, ino_t>> taken_;
};

}  // namespace loopfs::supervisor
