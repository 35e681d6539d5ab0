#include "sys/file_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <string>

namespace loopfs::sys {
namespace {

Result<FileIdentity> identity_from(const struct statx& status, const std::string& info_path) {
  std::ifstream info(info_path);
  for (std::string key; info >> key;) {
    FileIdentity identity{.device = makedev(status.stx_dev_major, status.stx_dev_minor)};
    if (key == "ino:" && info >> identity.inode) return identity;
  }
  return fail(ENOENT, "{}", info_path);
}

// Who asks for nothing is not refused by FUSE, and the device number comes all the same.
constexpr int kAskNobody = AT_STATX_DONT_SYNC;

}  // namespace

Result<FileIdentity> file_identity(int fd) {
  struct statx status;
  if (::statx(fd, "", AT_EMPTY_PATH | kAskNobody, 0, &status) != 0)
    return errno_fail("statx descriptor {}", fd);
  return identity_from(status, fmt::format("/proc/self/fdinfo/{}", fd));
}

Result<FileIdentity> file_identity_of(pid_t tid, int fd, struct statx* known) {
  struct statx status;
  const std::string path = fmt::format("/proc/{}/fd/{}", tid, fd);
  if (::statx(AT_FDCWD, path.c_str(), kAskNobody, 0, &status) != 0) return errno_fail("statx '{}'", path);
  if (known != nullptr) *known = status;
  return identity_from(status, fmt::format("/proc/{}/fdinfo/{}", tid, fd));
}

}  // namespace loopfs::sys
