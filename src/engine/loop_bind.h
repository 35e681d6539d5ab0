// Binding a device to a file: LOOP_CONFIGURE, LOOP_SET_FD, LOOP_CHANGE_FD.
#pragma once

#include <linux/loop.h>

#include "engine/handle.h"

namespace loopfs::engine {

// Errors: EBADF no such descriptor, EBUSY bound or claimed, EINVAL, EOVERFLOW.
Result<int> configure(DeviceHandle& handle, const loop_config& config, const Caller& caller);

// Errors: EBADF, ENXIO not bound, EINVAL not read-only or of another size.
Result<int> change_fd(DeviceHandle& handle, int fd, const Caller& caller);

// Whether the file's direct I/O can serve blocks of `block_size` from `offset` on.
bool can_use_direct(Backing& backing, uint64_t offset, uint32_t block_size, const Caller& caller);

}  // namespace loopfs::engine
