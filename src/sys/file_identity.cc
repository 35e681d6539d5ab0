#include "sys/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <string>

namespace loopfs::sys {

Result<FileIdentity> file_identity(int fd) {
  struct statx status;
  // Who asks for nothing is not refused by FUSE, and the device number comes all the same.
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) != 0)
    return errno_fail("statx descriptor {}", fd);
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
  for (std::string key; info >> key;) {
    FileIdentity identity{.device = makedev(status.stx_dev_major, status.stx_dev_minor)};
    if (key == "ino:" && info >> identity.inode) return identity;
  }
  return fail(ENOENT, "/proc/self/fdinfo/{}", fd);
}

}  // namespace loopfs::sys
