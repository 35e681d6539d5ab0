#include "base/fd.h"

#include <unistd.h>

#include <cerrno>

namespace loopfs::base {

void Fd::reset(int fd) {
  if (fd_ >= 0) {
    const int kept = errno;
    ::close(fd_);
    errno = kept;
  }
  fd_ = fd;
}

}  // namespace loopfs::base
