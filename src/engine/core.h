// The state that the user engine, its handles and its holds share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/backing.h"
#include "engine/engine.h"
#include "engine/io_counters.h"
#include "engine/node_owner.h"
#include "engine/user_engine.h"
#include "instance/device_table.h"

namespace loopfs::engine {

constexpr uint32_t kMaxSectors = 2560;  // of a request (BLKSECTGET): 1280 KiB, the kernel's default

// One device: the model and what stands behind it. All but `written` is guarded by Core::mutex().
struct Slot {
  std::shared_ptr<instance::Device> device;
  std::shared_ptr<Backing> backing;      // while bound or in rundown
  std::string backing_path;              // as its users see it
  std::map<uint32_t, NodeOwner> owners;  // by partition; 0: the device
  uint32_t discard_granularity = 0;
  bool rotational = false;
  uint64_t read_ahead = 256;                                              // sectors
  std::shared_ptr<IoCounters> counters = std::make_shared<IoCounters>();  // with those of its partitions
  std::map<uint32_t, std::shared_ptr<IoCounters>> partition_counters;
  std::atomic<bool> written = false;  // since the last scan for partitions
  // Handles whose last close may be under way, and until when it is worth waiting for it.
  std::map<const void*, std::chrono::steady_clock::time_point> closing;

  // blk_apply_bdi_limits: each change of the queue's limits sets read-ahead anew, for rotating disks to
  // twice the largest request.
  void set_rotational(bool is_rotational) {
    rotational = is_rotational;
    read_ahead = rotational ? 2 * kMaxSectors : 256;
  }

  // Null for the device itself.
  std::shared_ptr<IoCounters> counters_of(uint32_t partition) {
    if (partition == 0) return nullptr;
    auto& found = partition_counters[partition];
    if (!found) found = std::make_shared<IoCounters>();
    return found;
  }

  NodeId id(uint32_t partition) const {
    const uint32_t number = device->number();
    return partition == 0 ? NodeId::of_device(number) : NodeId::of_partition(number, partition);
  }
};

// What one request needs to do I/O without the lock.
struct IoView {
  std::shared_ptr<Backing> backing;  // none unless bound
  uint64_t start = 0, size = 0;      // bytes: of the node in the backing file, and of the node
  uint32_t block_size = 512;
  bool read_only = false;
};

// Lock order: order_mutex_, then mutex_; no system call and no call of Backing, Observer or Caller happens
// under mutex_. Changes go through a Transaction.
class Core : public std::enable_shared_from_this<Core> {
 public:
  explicit Core(const UserEngine::Options& options);

  std::mutex& mutex() { return mutex_; }
  const UserEngine::Options& options() const { return options_; }
  instance::DeviceTable& table() { return table_; }
  std::map<uint32_t, std::shared_ptr<Slot>>& slots() { return slots_; }
  std::shared_ptr<Slot> find(uint32_t number);
  NodeOwner& control_owner() { return control_owner_; }
  NodeOwner new_owner() const;

  void add_observer(Observer* observer);

  // The end of the instance: what is bound and unused is cleared, what is in use goes with its last user.
  // Nobody is told any more.
  void end();

  // Waits until the closes of a device's handles that have begun are done, a few milliseconds at most.
  void settle(std::unique_lock<std::mutex>& lock, Slot& slot);
  // The same, only if those are all its openers and their end will change what the device is.
  void settle_if_ending(std::unique_lock<std::mutex>& lock, Slot& slot);
  void settle_all(std::unique_lock<std::mutex>& lock);
  void closing(Slot& slot, const void* handle);
  void closed(Slot& slot, const void* handle);

  // Scans for partitions if the device is still what it was, without the lock held.
  // Errors: EBUSY if a partition is open.
  Result<void> rescan(const std::shared_ptr<Slot>& slot);

 private:
  friend class Transaction;
  struct Event {
    enum class Kind { kAdded, kRemoved, kContents } kind;
    NodeId id;
  };
  void deliver();

  const UserEngine::Options options_;
  std::mutex order_mutex_;  // one thread delivers at a time, so that observers see the order of changes
  std::mutex mutex_;
  std::condition_variable settled_;
  instance::DeviceTable table_;
  std::map<uint32_t, std::shared_ptr<Slot>> slots_;
  NodeOwner control_owner_;
  std::vector<Observer*> observers_;
  std::vector<Event> events_;
};

// A change under the lock. When it ends: unlocks, drops what is no longer needed, tells the observers.
class Transaction {
 public:
  explicit Transaction(Core& core) : core_(core), lock_(core.mutex()) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();

  std::unique_lock<std::mutex>& lock() { return lock_; }
  // The device was made or will be removed.
  void added(uint32_t number);
  void removed(uint32_t number);
  // All nodes of the device show other bytes than before.
  void contents_changed(const Slot& slot);
  // To be dropped once the lock is free: the destructor of a backing may close another device.
  void drop(std::shared_ptr<Backing> backing) { dropped_.push_back(std::move(backing)); }
  // Runs a change of the device's partitions and announces the nodes that came and went.
  template <typename F>
  auto change_partitions(Slot& slot, F&& change) {
    const auto before = slot.device->partitions();
    auto result = change();
    partitions_changed(slot, before);
    return result;
  }
  // The device has lost its last opener in rundown: it becomes free.
  void unbind(Slot& slot);

 private:
  void partitions_changed(Slot& slot, const std::map<uint32_t, instance::Partition>& before);

  Core& core_;
  std::unique_lock<std::mutex> lock_;
  std::vector<std::shared_ptr<Backing>> dropped_;
};

}  // namespace loopfs::engine
