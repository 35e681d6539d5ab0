// The memory of another process: process_vm_readv(2), process_vm_writev(2).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"

namespace loopfs::sys {

// Copies between our memory and that of the thread `tid`, all bytes or an error. Errors: EFAULT if any byte
// of the range is not mapped so (a part may have been copied), ESRCH it is gone, EPERM without ptrace rights.
Result<void> read_memory(pid_t tid, uint64_t address, std::span<std::byte> bytes);
Result<void> write_memory(pid_t tid, uint64_t address, std::span<const std::byte> bytes);

// The text up to the first zero byte. Errors: as read_memory; ENAMETOOLONG if `limit` bytes hold no zero.
Result<std::string> read_string(pid_t tid, uint64_t address, size_t limit);

}  // namespace loopfs::sys
