// The kernel loop devices that the daemon makes, all numbered from one number on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "instance/node.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {

// Hands out unbound devices for one binding each. Their numbers are so high that nobody meets them by chance,
// and that udev rules and administrators know them by name. The host's GET_FREE takes the lowest unbound
// device, so the pool sees to it that one exists below its own before it makes one, and no device of the pool
// is offered to anybody. Thread-safe.
class DevicePool {
 public:
  // Numbers from here on are never those of kernel devices.
  static constexpr uint32_t kEndOfNumbers = sys::kEndOfLoopDevices;
  static_assert(sys::kLoopNumbers - kEndOfNumbers == instance::kMostDevices);
  // And no pool has numbers from here on.
  static constexpr uint32_t kEndOfPools = kEndOfNumbers - sys::kLoopDevicesToTry;

  static constexpr uint32_t kDefaultCount = 100000;

  struct Options {
    uint32_t first = 100000;
    uint32_t count = kDefaultCount;
    unsigned spares = 16;  // unbound devices kept for later: making and removing one takes 50 ms
  };
  static Result<std::unique_ptr<DevicePool>> create(const Options& options);
  ~DevicePool();

  struct Claim {
    uint32_t number = 0;
    Fd device;  // opened O_EXCL: nobody else can bind it
  };
  // `flags`: O_RDWR or O_RDONLY. Errors: ENOSPC all numbers are in use, those of open(2).
  Result<Claim> take(int flags);

  // It is unbound, or somebody else has it by now.
  void give_back(uint32_t number);

  // A device from before this process, bound: its number is not handed out.
  void adopt(uint32_t number);

  // Removes what is in reserve: nobody needs devices for now.
  void remove_spares();

  bool owns(uint32_t number) const { return number - options_.first < options_.count; }
  const Options& options() const { return options_; }

 private:
  // It is to be removed.
  void doom(uint32_t number);
  DevicePool(const Options& options, Fd control);
  Result<uint32_t> next_number();
  Result<void> keep_decoy();
  void remove_in_background();
  void remove_doomed();

  const Options options_;
  const Fd control_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<uint32_t> spares_, doomed_, decoys_;
  std::vector<uint32_t> opened_;  // doomed ones that were open, and are to be tried again
  uint32_t next_ = 0;             // counts up, so that a number is not met again soon
  bool stopping_ = false;
  std::thread remover_;
};

}  // namespace loopfs::kernel
