#include "sandbox/private_fds.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/number.h"

namespace loopfs::sandbox {
namespace {

// The open descriptors, without the one used to find out.
std::vector<int> open_fds() {
  std::vector<int> found;
  DIR* folder = ::opendir("/proc/self/fd");
  if (!folder) {
    for (int fd = 0; fd < 4096; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0) found.push_back(fd);
    }
    return found;
  }
  while (const dirent* entry = ::readdir(folder)) {
    const auto fd = base::parse_number<int>(entry->d_name);
    if (fd && *fd != ::dirfd(folder)) found.push_back(*fd);
  }
  ::closedir(folder);
  return found;
}

bool contains(const std::vector<int>& fds, int fd) {
  return std::find(fds.begin(), fds.end(), fd) != fds.end();
}

}  // namespace

void close_private_fds(const std::vector<int>& kept) {
  for (const int fd : open_fds()) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) && !contains(kept, fd)) ::close(fd);
  }
}

void close_all_fds(const std::vector<int>& kept) {
  for (const int fd : open_fds()) {
    if (!contains(kept, fd)) ::close(fd);
  }
}

}  // namespace loopfs::sandbox
