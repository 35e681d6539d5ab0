// The ioctls of a loop device: drivers/block/loop.c.
#pragma once

#include "engine/handle.h"

namespace loopfs::engine {

// EINVAL for any command that is none of these, as the driver answers.
Result<int> loop_ioctl(DeviceHandle& handle, IoctlRequest& request, const Caller& caller);

}  // namespace loopfs::engine
