// The ioctls that every block device has: block/ioctl.c.
#pragma once

#include <optional>

#include "engine/handle.h"

namespace loopfs::engine {

// None: the command is not one of these, the driver's turn.
std::optional<Result<int>> block_ioctl(DeviceHandle& handle, IoctlRequest& request, const Caller& caller);

}  // namespace loopfs::engine
