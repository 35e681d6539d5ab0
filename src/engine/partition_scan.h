// Reads a partition table with libblkid.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.h"
#include "instance/device.h"

namespace loopfs::engine {

// GPT and MBR with logical partitions; starts and sizes in bytes from `offset`. Empty without a table. The
// descriptor's file offset is moved. Errors: EIO, ENOMEM.
Result<std::map<uint32_t, instance::Partition>> scan_partitions(int fd, uint64_t offset, uint64_t size,
                                                                uint32_t block_size);

}  // namespace loopfs::engine
