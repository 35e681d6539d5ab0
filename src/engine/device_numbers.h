// st_rdev of the nodes.
#pragma once

#include <sys/sysmacros.h>
#include <sys/types.h>

#include <optional>

#include "instance/node.h"

namespace loopfs::engine {

// Partitions have the kernel's major for extended block devices, with minors far above those that the
// host's own devices have: it counts them from 0.
inline dev_t device_number(const instance::NodeId& id) {
  switch (id.kind) {
    case instance::NodeId::Kind::kControl:
      return makedev(10, 237);
    case instance::NodeId::Kind::kDevice:
      return makedev(7, id.device);
    case instance::NodeId::Kind::kPartition:
      break;
  }
  return makedev(259, 0x80000 + id.device * 256 + id.partition);
}

// The node that has the number, if it is a device's or a partition's.
inline std::optional<instance::NodeId> node_of_device(dev_t device) {
  if (major(device) == 7 && minor(device) < instance::kMostDevices) {
    return instance::NodeId::of_device(minor(device));
  }
  if (major(device) != 259 || minor(device) < 0x80000) return std::nullopt;
  const uint32_t place = minor(device) - 0x80000;
  if (place / 256 >= instance::kMostDevices || place % 256 == 0) return std::nullopt;
  return instance::NodeId::of_partition(place / 256, place % 256);
}

}  // namespace loopfs::engine
