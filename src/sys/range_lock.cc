#include "sys/range_lock.h"

#include <fcntl.h>
#include <unistd.h>

namespace loopfs::sys {

Result<std::optional<ByteRange>> lock_range(int file, const ByteRange& wanted) {
  for (;;) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(wanted.first);
    lock.l_len = static_cast<off_t>(wanted.count);
    if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return std::nullopt;
    if (errno != EAGAIN && errno != EACCES) return errno_fail("lock bytes {} on", wanted.first);
    if (::fcntl(file, F_OFD_GETLK, &lock) != 0) return errno_fail("see who locks bytes {} on", wanted.first);
    // Else the other has just let go.
    if (lock.l_type != F_UNLCK) {
      return ByteRange{static_cast<uint64_t>(lock.l_start), static_cast<uint64_t>(lock.l_len)};
    }
  }
}

}  // namespace loopfs::sys
