// The devices of one instance, and their numbers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/error.h"
#include "instance/device.h"

namespace loopfs::instance {

// A pure model, guarded by the engine. Devices are shared with open handles, which may outlive nothing but
// themselves: a device with an opener cannot be removed.
class DeviceTable {
 public:
  // `max`: most devices at a time; none: as many as there are numbers. `taken`: numbers that are not given out.
  explicit DeviceTable(std::optional<uint32_t> max, std::set<uint32_t> taken = {})
      : max_(max.value_or(kMostDevices)), taken_(std::move(taken)) {}

  // LOOP_CTL_ADD: number < 0 is the lowest unused one. EEXIST it is there, or taken; ENOSPC over max or out of numbers.
  Result<uint32_t> add(int64_t number);
  // LOOP_CTL_GET_FREE: the lowest free device, or a new one. ENOSPC.
  Result<uint32_t> get_free();
  // LOOP_CTL_REMOVE. EINVAL negative, ENODEV none there, EBUSY bound or open.
  Result<void> remove(int64_t number);

  Device* find(uint32_t number);
  const std::map<uint32_t, std::shared_ptr<Device>>& devices() const { return devices_; }

  // Disk sequence numbers (BLKGETDISKSEQ): each medium of each device gets a new one.
  uint64_t next_sequence() { return ++sequence_; }

 private:
  bool is_used(int64_t number) const;

  const uint32_t max_;
  const std::set<uint32_t> taken_;
  uint64_t sequence_ = 0;
  std::map<uint32_t, std::shared_ptr<Device>> devices_;
};

}  // namespace loopfs::instance
