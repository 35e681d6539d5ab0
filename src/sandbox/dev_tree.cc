#include "sandbox/dev_tree.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

#include "instance/node.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/uapi.h"

namespace loopfs::sandbox {
namespace {

const std::string kHidden(instance::kHiddenName);

// Nodes that are safe in anyone's hands, or that their mode protects. Left out where the host has none.
constexpr const char* kNodes[] = {"null", "zero", "full", "random", "urandom",
                                  "tty",  "fuse", "kvm",  "net/tun"};

constexpr std::pair<const char*, const char*> kLinks[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"},
};

bool is_file_system(const char* path, long magic) {
  struct statfs status = {};
  return ::statfs(path, &status) == 0 && status.f_type == magic;
}

// The terminal of one of the standard descriptors, under a name at which ttyname(3) finds it, since it is not in
// the sandbox's devpts.
std::optional<std::string> terminal_path() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    char name[64];
    if (::isatty(fd) && ::ttyname_r(fd, name, sizeof name) == 0) return name;
  }
  return std::nullopt;
}

Result<void> make_directory(int dev, const std::string& name, mode_t mode) {
  if (::mkdirat(dev, name.c_str(), mode) == 0 || errno == EEXIST) return {};
  return errno_fail("mkdir '/dev/{}'", name);
}

Result<void> make_mount_point(int dev, const std::string& name, bool directory) {
  if (directory) return make_directory(dev, name, 0755);
  if (const size_t slash = name.find('/'); slash != std::string::npos) {
    if (auto made = make_directory(dev, name.substr(0, slash), 0755); !made) return made;
  }
  if (::mknodat(dev, name.c_str(), S_IFREG | 0444, 0) != 0) return errno_fail("make '/dev/{}'", name);
  return {};
}

// Mount tables show a source: the type, as everywhere.
Result<Fd> mount_virtual_named(const std::string& type,
                               std::vector<std::pair<std::string, std::string>> parameters,
                               uint64_t attributes) {
  parameters.emplace_back("source", type);
  return sys::mount_virtual(type, parameters, attributes);
}

Result<void> mount_new(int dev, const char* type, const std::string& name,
                       const std::vector<std::pair<std::string, std::string>>& parameters,
                       uint64_t attributes) {
  if (auto made = make_directory(dev, name, 0755); !made) return made;
  auto mount = mount_virtual_named(type, parameters, attributes);
  if (!mount) return propagate(mount);
  return sys::attach_mount(mount->get(), dev, name);
}

// A mount that copies of /dev leave out: what is mounted in there comes from the host, and nobody could unmount it one by
// one, as `umount -R` of such a copy does.
Result<void> make_hidden_folder(int dev) {
  if (auto made = make_directory(dev, kHidden, 0700); !made) return made;
  auto mount = mount_virtual_named("tmpfs", {{"mode", "0700"}, {"size", "64k"}},
                                   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!mount) return propagate(mount);
  if (auto attached = sys::attach_mount(mount->get(), dev, kHidden); !attached) return attached;
  const std::string path = fmt::format("/proc/self/fd/{}", mount->get());
  if (::mount(nullptr, path.c_str(), nullptr, MS_UNBINDABLE, nullptr) != 0)
    return errno_fail("make '/dev/{}' unbindable", kHidden);
  for (const char* name : {kPlainProc, kPlainSys, kViewName}) {
    if (auto made = make_directory(dev, name, 0755); !made) return made;
  }
  return {};
}

Result<void> fill(int dev) {
  for (const auto& [name, target] : kLinks) {
    if (::symlinkat(target, dev, name) != 0) return errno_fail("link '/dev/{}'", name);
  }
  if (auto made = make_hidden_folder(dev); !made) return made;
  const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  auto pts =
      mount_new(dev, "devpts", "pts", {{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}}, safe);
  if (!pts) return pts;
  return mount_new(dev, "tmpfs", "shm", {{"mode", "1777"}}, safe | MOUNT_ATTR_NODEV);
}

// The process has one thread: the mask of new files is nobody else's.
class NoUmask {
 public:
  NoUmask() : kept_(::umask(0)) {}
  ~NoUmask() { ::umask(kept_); }
  NoUmask(const NoUmask&) = delete;
  NoUmask& operator=(const NoUmask&) = delete;

 private:
  mode_t kept_;
};

}  // namespace

Result<void> mount_in_root(int mount_fd, int root_fd, const std::string& path) {
  auto target = sys::open_path_in_root(root_fd, path, 0);
  if (!target) return propagate(target);
  if (auto attached = sys::attach_mount(mount_fd, target->get(), ""); !attached) {
    return fail(attached.error().code, "mount on '{}'", path);
  }
  return {};
}

void HostMounts::add(const std::string& path, const std::string& name, bool directory) {
  auto clone = sys::clone_tree(AT_FDCWD, path, directory);
  if (clone) mounts_.push_back({name, std::move(*clone), directory});
}

HostMounts HostMounts::copy() {
  HostMounts mounts;
  for (const char* name : kNodes) {
    struct stat status = {};
    const std::string path = std::string("/dev/") + name;
    if (::stat(path.c_str(), &status) == 0 && S_ISCHR(status.st_mode)) mounts.add(path, name, false);
  }
  if (const auto terminal = terminal_path()) mounts.add(*terminal, "console", false);
  // The IPC namespace stays the host's, and with it the queues.
  if (is_file_system("/dev/mqueue", MQUEUE_MAGIC)) mounts.add("/dev/mqueue", "mqueue", true);
  // In a sandbox in a sandbox, /sys has views on it; the plain copy is this one.
  const std::string plain = std::string("/dev/") + kPlainSys;
  const bool nested = is_file_system(plain.c_str(), SYSFS_MAGIC);
  if (nested || is_file_system("/sys", SYSFS_MAGIC)) mounts.add(nested ? plain : "/sys", kPlainSys, true);
  return mounts;
}

Result<void> fill_dev_tree(int dev, const HostMounts& hosts) {
  const NoUmask no_umask;
  if (auto filled = fill(dev); !filled) return filled;
  for (const auto& host : hosts.mounts_) {
    if (auto made = make_mount_point(dev, host.name, host.directory); !made) return made;
    auto attached = sys::attach_mount(host.mount.get(), dev, host.name);
    if (!attached) return propagate(attached, "/dev/{}", host.name);
  }
  return {};
}

}  // namespace loopfs::sandbox
