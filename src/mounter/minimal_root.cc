#include "mounter/minimal_root.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "base/fd.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"

namespace loopfs::mounter {
namespace {

constexpr const char* kPrograms[] = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"};
constexpr const char* kFiles[] = {"etc/ld.so.cache", "etc/fuse.conf"};
constexpr uint64_t kLocked = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;

// An empty file or directory at `path` below `root`, with the directories above it.
Result<void> make_place(int root, const std::string& path, bool directory) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string above = path.substr(0, slash);
    if (::mkdirat(root, above.c_str(), 0755) != 0 && errno != EEXIST) return errno_fail("mkdir '{}'", above);
  }
  if (directory) {
    if (::mkdirat(root, path.c_str(), 0755) != 0 && errno != EEXIST) return errno_fail("mkdir '{}'", path);
    return {};
  }
  const Fd file(::openat(root, path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_fail("create '{}'", path);
  return {};
}

// The host's /`path` at the same place below `root`: a link as a link, all else bound read-only. Nothing if
// the host has no such thing.
Result<void> bring(int root, const std::string& path, uint64_t attributes) {
  const std::string source = "/" + path;
  struct stat status;
  if (::lstat(source.c_str(), &status) != 0) return {};
  if (S_ISLNK(status.st_mode)) {
    char target[PATH_MAX];
    const ssize_t length = ::readlink(source.c_str(), target, sizeof target - 1);
    if (length < 0) return errno_fail("readlink '{}'", source);
    target[length] = '\0';
    if (::symlinkat(target, root, path.c_str()) != 0) return errno_fail("symlink '{}'", path);
    return {};
  }
  if (auto made = make_place(root, path, S_ISDIR(status.st_mode)); !made) return made;
  auto tree = sys::clone_tree(AT_FDCWD, source, true);
  if (!tree) return propagate(tree);
  if (auto set = sys::set_mount_attributes(tree->get(), attributes, 0, true); !set)
    return propagate(set, "'{}'", path);
  return sys::attach_mount(tree->get(), root, path);
}

// A program of its own package may live outside of the system's folders: its file comes along, no more.
Result<void> bring_executable(int root, const std::string& executable) {
  for (const char* folder : kPrograms) {
    if (executable.starts_with(fmt::format("/{}/", folder))) return {};
  }
  return bring(root, executable.substr(1), kLocked);
}

Result<void> fill(int root, const std::string& executable) {
  for (const char* path : kPrograms) {
    if (auto done = bring(root, path, kLocked); !done) return done;
  }
  if (auto done = make_place(root, "etc", true); !done) return done;
  for (const char* path : kFiles) {
    if (auto done = bring(root, path, kLocked); !done) return done;
  }
  // libfuse looks here before it would run mount(8) to write a table.
  if (::symlinkat("/proc/self/mounts", root, "etc/mtab") != 0) return errno_fail("symlink 'etc/mtab'");
  for (const char* device : {"dev/null", "dev/fuse", "dev/urandom"}) {
    if (auto done = bring(root, device, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC); !done) return done;
  }
  if (auto done = bring_executable(root, executable); !done) return done;
  if (auto done = make_place(root, "mnt", true); !done) return done;
  if (auto done = make_place(root, "proc", true); !done) return done;
  auto proc = sys::mount_virtual("proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!proc) return propagate(proc);
  return sys::attach_mount(proc->get(), root, "proc");
}

}  // namespace

Result<void> enter_minimal_root(const std::string& executable) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return errno_fail("make mounts private");
  auto root =
      sys::mount_virtual("tmpfs", {{"mode", "0755"}, {"size", "64k"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (!root) return propagate(root);
  // It must stand somewhere to become the root: over /proc, which every system has, and nothing here needs.
  if (auto done = sys::attach_mount(root->get(), AT_FDCWD, "/proc"); !done) return done;
  const Fd place(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.valid()) return errno_fail("open the new root");
  if (auto done = fill(place.get(), executable); !done) return done;
  if (auto done = sys::set_mount_attributes(place.get(), MOUNT_ATTR_RDONLY, 0, false); !done) return done;
  return sys::change_root_to(place.get());
}

}  // namespace loopfs::mounter
