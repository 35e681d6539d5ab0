#include "instance/device_table.h"

namespace loopfs::instance {

bool DeviceTable::is_used(int64_t number) const {
  if (number >= kMostDevices) return false;
  const auto index = static_cast<uint32_t>(number);
  return devices_.contains(index) || taken_.contains(index);
}

Result<uint32_t> DeviceTable::add(int64_t number) {
  if (number < 0) {
    number = 0;
    while (is_used(number)) ++number;
  } else if (is_used(number)) {
    return fail(EEXIST, "loop{}", number);
  }
  if (number >= kMostDevices || devices_.size() >= max_)
    return fail(ENOSPC, "loop{}: at most {} devices", number, max_);
  const auto index = static_cast<uint32_t>(number);
  devices_.emplace(index, std::make_shared<Device>(index, next_sequence()));
  return index;
}

Result<uint32_t> DeviceTable::get_free() {
  for (const auto& [number, device] : devices_) {
    if (device->state() == State::kFree) return number;
  }
  return add(-1);
}

Result<void> DeviceTable::remove(int64_t number) {
  if (number < 0) return fail(EINVAL, "loop{}", number);
  const auto found = number < kMostDevices ? devices_.find(static_cast<uint32_t>(number)) : devices_.end();
  if (found == devices_.end()) return fail(ENODEV, "loop{}", number);
  if (found->second->in_use()) return fail(EBUSY, "loop{}", number);
  devices_.erase(found);
  return {};
}

Device* DeviceTable::find(uint32_t number) {
  const auto found = devices_.find(number);
  return found == devices_.end() ? nullptr : found->second.get();
}

}  // namespace loopfs::instance
