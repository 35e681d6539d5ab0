// The files of a loop device's directory in sysfs, as Linux 6.18 has them.
#pragma once

#include "engine/engine.h"
#include "view/entry.h"

namespace loopfs::view {

// Everything below /sys/devices/virtual/block/loopN, partitions included. Left out: what only steers the
// kernel's block layer (bdi, mq, power, trace), and the I/O counters read zero.
Entries device_entries(const engine::DeviceState& device);

// The device's and its partitions' lines of /proc/partitions; none for a device without a size.
std::string partition_lines(const engine::DeviceState& device);

}  // namespace loopfs::view
