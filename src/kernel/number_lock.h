// Who may make kernel loop devices of which numbers.
#pragma once

#include "base/error.h"
#include "base/fd.h"
#include "kernel/device_pool.h"

namespace loopfs::kernel {

// The right to the numbers of a pool, against every other loopfsd on this kernel. A pool takes what is unbound in its range
// for a spare of its own, and loopfsd has what it does not know freed; so this comes before a pool is made.
//
// It is a lock on these numbers, as on bytes, of /dev/loop-control in devtmpfs, of which a kernel has one: whatever mount
// namespace, /run or socket the other has. The kernel ends it with the last descriptor that comes from the one returned, be
// it in the keeper or in the server, however these end. `kept`: a descriptor that has the lock already, or none.
// Errors: EADDRINUSE another loopfsd has some of them.
Result<Fd> lock_numbers(const DevicePool::Options& numbers, Fd kept);

}  // namespace loopfs::kernel
