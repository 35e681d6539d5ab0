// Locks on ranges of a file: fcntl(2), F_OFD_SETLK. Such a lock belongs to the open file: to all duplicates of the
// descriptor, in whatever process, and it ends with the last of them, however that goes.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace loopfs::sys {

struct ByteRange {
  uint64_t first = 0;
  uint64_t count = 0;  // 0: to the end
  bool operator==(const ByteRange&) const = default;
};

// Locks `wanted` for the open file alone; what it has locked already stays. None: done; else what another open file
// has, or a part of it. `file` is open for writing, and borrowed. Errors: EBADF it is not; EINVAL, EOVERFLOW, ENOLCK.
Result<std::optional<ByteRange>> lock_range(int file, const ByteRange& wanted);

}  // namespace loopfs::sys
