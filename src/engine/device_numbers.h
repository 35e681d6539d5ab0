// st_rdev of the nodes.
#pragma once

#include <sys/sysmacros.h>
#include <sys/types.h>

#include "instance/node.h"

namespace loopfs::engine {

// Partitions have the kernel's major for extended block devices, with minors far above those that the
// host's own devices have: it counts them from 0.
inline dev_t device_number(const instance::NodeId& id) {
  switch (id.kind) {
    case instance::NodeId::Kind::kControl: return makedev(10, 237);
    case instance::NodeId::Kind::kDevice: return makedev(7, id.device);
    case instance::NodeId::Kind::kPartition: break;
  }
  return makedev(259, 0x80000 + id.device * 256 + id.partition);
}

}  // namespace loopfs::engine
