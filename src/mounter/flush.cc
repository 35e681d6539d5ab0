#include "mounter/flush.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <memory>

#include "base/fd.h"

namespace loopfs::mounter {
namespace {

constexpr int kMostEntries = 1000;  // that are looked at

// Closes what it was opened from.
using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

bool synchronise(int directory, const char* name) {
  const Fd file(::openat(directory, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return file.valid() && ::fsync(file.get()) == 0;
}

// Of `directory`, and not of a file system that is mounted in it.
bool below(int directory, const char* name, struct stat& status) {
  struct stat own;
  return ::fstat(directory, &own) == 0 && ::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         own.st_dev == status.st_dev;
}

}  // namespace

void flush_program(const std::string& path) {
  Fd top(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.valid()) return;
  (void)::fsync(top.get());
  std::deque<Fd> waiting;
  waiting.push_back(std::move(top));
  for (int seen = 0; !waiting.empty();) {
    Directory directory(::fdopendir(waiting.front().get()), ::closedir);
    if (directory) (void)waiting.front().release();
    waiting.pop_front();
    if (!directory) continue;
    const int fd = ::dirfd(directory.get());
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string name = entry->d_name;
      struct stat status;
      if (name == "." || name == ".." || !below(fd, entry->d_name, status)) continue;
      if (++seen > kMostEntries) return;
      if (S_ISREG(status.st_mode) && synchronise(fd, entry->d_name)) return;
      if (!S_ISDIR(status.st_mode) || waiting.size() > 16) continue;
      Fd folder(::openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (folder.valid()) waiting.push_back(std::move(folder));
    }
  }
}

}  // namespace loopfs::mounter
