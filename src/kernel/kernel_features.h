// What the kernel's loop driver does, found out by trying.
#pragma once

#include "base/error.h"
#include "kernel/device_pool.h"

namespace loopfs::kernel {

struct KernelFeatures {
  // LOOP_CLR_FD by the only opener unbinds the device when that opener closes it, not at once. Without this, a
  // container could keep a descriptor of a device that is unbound, and will be somebody else's.
  bool clears_at_last_close = false;
  // It finds the partitions of a loop device itself.
  bool reads_partitions = false;
};

// Errors: no device can be had or bound; EAGAIN it cannot be told now, since others have each new device open.
Result<KernelFeatures> probe_kernel(DevicePool& pool);

}  // namespace loopfs::kernel
