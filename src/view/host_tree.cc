#include "view/host_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <string_view>

namespace loopfs::view {
namespace {

constexpr size_t kMostBytes = 1 << 20;

}  // namespace

HostTree::HostTree(const std::string& directory)
    : directory_(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

Result<Fd> HostTree::open(const std::string& path, int flags) const {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  if (!directory_.valid()) return fail(ENOENT, "open '{}'", path);
  Fd fd(static_cast<int>(
      ::syscall(SYS_openat2, directory_.get(), path.empty() ? "." : path.c_str(), &how, sizeof how)));
  if (!fd.valid()) return errno_fail("open '{}'", path);
  return fd;
}

Result<std::vector<Listed>> HostTree::list(const std::string& path) const {
  auto fd = open(path, O_RDONLY | O_DIRECTORY);
  if (!fd) return propagate(fd);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd->get()), ::closedir);
  if (!stream) return errno_fail("read directory '{}'", path);
  (void)fd->release();  // the stream's now
  std::vector<Listed> listed;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    switch (entry->d_type) {
      case DT_DIR:
        listed.push_back({std::string(name), Entry::Kind::kDirectory});
        break;
      case DT_REG:
        listed.push_back({std::string(name), Entry::Kind::kFile});
        break;
      case DT_LNK:
        listed.push_back({std::string(name), Entry::Kind::kLink});
        break;
      default:
        break;  // sysfs has nothing else, and find() would not find it
    }
  }
  return listed;
}

Result<Entry> HostTree::find(const std::string& path) const {
  auto fd = open(path, O_PATH);
  if (!fd) return propagate(fd);
  struct stat status;
  if (::fstat(fd->get(), &status) != 0) return errno_fail("stat '{}'", path);
  if (S_ISDIR(status.st_mode)) return Entry::directory();
  if (S_ISREG(status.st_mode)) return Entry::file({});
  if (!S_ISLNK(status.st_mode)) return fail(ENOENT, "'{}'", path);
  char target[PATH_MAX];
  const ssize_t length = ::readlinkat(fd->get(), "", target, sizeof target);
  if (length < 0) return errno_fail("readlink '{}'", path);
  return Entry::link(std::string(target, static_cast<size_t>(length)));
}

Result<std::string> HostTree::read(const std::string& path) const {
  auto fd = open(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return propagate(fd);
  std::string text;
  char piece[4096];
  while (text.size() < kMostBytes) {
    const ssize_t length = ::read(fd->get(), piece, sizeof piece);
    if (length < 0) return errno_fail("read '{}'", path);
    if (length == 0) break;
    text.append(piece, static_cast<size_t>(length));
  }
  return text;
}

}  // namespace loopfs::view
