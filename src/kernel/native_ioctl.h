// ioctl(2) on an open file of a node whose device is bound: passed on to the kernel device.
#pragma once

#include "kernel/node_handle.h"

namespace loopfs::kernel {

// Each argument is read once from the caller, and checked and performed on our copy. What the kernel allows to
// CAP_SYS_ADMIN only, it would allow to us: here it takes CAP_SYS_ADMIN in the instance's user namespace.
// Errors: those of the kernel; ENXIO of the device that is free; ENOTTY unknown.
Result<int> native_ioctl(NodeHandle& handle, engine::IoctlRequest& request, const engine::Caller& caller);

}  // namespace loopfs::kernel
