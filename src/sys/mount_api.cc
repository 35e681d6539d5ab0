#include "sys/mount_api.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace loopfs::sys {
namespace {

// The context's own explanation of a failure, where the kernel left one ("e fuse: Bad value for 'fd'").
std::string explanation(int context) {
  char line[256];
  const ssize_t length = ::read(context, line, sizeof line - 1);
  if (length <= 2) return {};
  std::string text(line + 2, static_cast<size_t>(length - 2));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return " (" + text + ")";
}

Result<void> configure(int context, unsigned command, const char* key, const char* value) {
  if (::fsconfig(context, command, key, value, 0) == 0) return {};
  const int code = errno;
  return fail(code, "fsconfig {}={}{}", key ? key : "command", value ? value : "", explanation(context));
}

Result<void> configure(int context, const std::vector<std::pair<std::string, std::string>>& parameters) {
  for (const auto& [key, value] : parameters) {
    auto set = value.empty() ? configure(context, FSCONFIG_SET_FLAG, key.c_str(), nullptr)
                             : configure(context, FSCONFIG_SET_STRING, key.c_str(), value.c_str());
    if (!set) return set;
  }
  return {};
}

unsigned long flags_of_attributes(uint64_t attributes) {
  constexpr std::pair<uint64_t, unsigned long> kPlain[] = {
      {MOUNT_ATTR_RDONLY, MS_RDONLY}, {MOUNT_ATTR_NOSUID, MS_NOSUID},         {MOUNT_ATTR_NODEV, MS_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOEXEC}, {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME},
  };
  unsigned long flags = 0;
  for (const auto& [attribute, flag] : kPlain) flags |= (attributes & attribute) != 0 ? flag : 0;
  const uint64_t atime = attributes & MOUNT_ATTR__ATIME;
  if (atime == MOUNT_ATTR_NOATIME) return flags | MS_NOATIME;
  return flags | (atime == MOUNT_ATTR_STRICTATIME ? MS_STRICTATIME : MS_RELATIME);
}

// The same with mount(2), for a process below a supervisor that answers fsopen(2) with ENOSYS, as loopfs's
// own does: mounted for a moment where there is a directory in any case, and taken from there.
Result<Fd> mount_with_old_call(const std::string& type,
                               const std::vector<std::pair<std::string, std::string>>& parameters,
                               uint64_t attributes) {
  constexpr char kPlace[] = "/proc";
  std::string source = type, data;
  for (const auto& [key, value] : parameters) {
    if (key == "source") {
      source = value;
      continue;
    }
    data += (data.empty() ? "" : ",") + key + (value.empty() ? "" : "=" + value);
  }
  if (::mount(source.c_str(), kPlace, type.c_str(), flags_of_attributes(attributes), data.c_str()) != 0) {
    return errno_fail("mount {}", type);
  }
  auto clone = clone_tree(AT_FDCWD, kPlace, false);
  if (::umount2(kPlace, MNT_DETACH) != 0 && clone) return errno_fail("unmount {}", type);
  return clone;
}

}  // namespace

Result<Fd> mount_virtual(const std::string& type,
                         const std::vector<std::pair<std::string, std::string>>& parameters,
                         uint64_t attributes) {
  Fd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context.valid() && errno == ENOSYS) return mount_with_old_call(type, parameters, attributes);
  if (!context.valid()) return errno_fail("fsopen {}", type);
  if (auto set = configure(context.get(), parameters); !set) return propagate(set, "mount {}", type);
  if (auto created = configure(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr); !created) {
    return propagate(created, "mount {}", type);
  }
  Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount.valid()) return errno_fail("fsmount {}", type);
  return mount;
}

Result<Fd> mount_fuse(int fuse_fd, const FuseMountOptions& options) {
  std::vector<std::pair<std::string, std::string>> parameters{
      {"source", options.source.empty() ? "fuse" : options.source},
      {"fd", std::to_string(fuse_fd)},
      {"rootmode", fmt::format("{:o}", options.root_mode)},
      {"user_id", std::to_string(::geteuid())},
      {"group_id", std::to_string(::getegid())},
  };
  if (!options.subtype.empty()) parameters.emplace_back("subtype", options.subtype);
  if (options.allow_other) parameters.emplace_back("allow_other", "");
  if (options.default_permissions) parameters.emplace_back("default_permissions", "");
  if (options.max_read != 0) parameters.emplace_back("max_read", std::to_string(options.max_read));
  if (options.read_only) parameters.emplace_back("ro", "");
  if (options.synchronous) parameters.emplace_back("sync", "");
  return mount_virtual("fuse", parameters, options.attributes);
}

Result<Fd> clone_tree(int directory_fd, const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (recursive) flags |= AT_RECURSIVE;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  Fd tree(::open_tree(directory_fd, path.c_str(), flags));
  if (!tree.valid()) return errno_fail("open_tree '{}'", path);
  return tree;
}

Result<void> attach_mount(int mount_fd, int directory_fd, const std::string& path) {
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH;
  if (path.empty()) flags |= MOVE_MOUNT_T_EMPTY_PATH;
  if (::move_mount(mount_fd, "", directory_fd, path.c_str(), flags) != 0) {
    return errno_fail("move_mount to '{}'", path);
  }
  return {};
}

Result<void> map_mount(int mount_fd, int user_namespace) {
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace);
  if (::mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
    return errno_fail("map the mount's ids");
  }
  return {};
}

Result<void> reconfigure_mount(int mount_fd,
                               const std::vector<std::pair<std::string, std::string>>& parameters) {
  const Fd context(::fspick(mount_fd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC));
  if (!context.valid()) return errno_fail("fspick");
  if (auto set = configure(context.get(), parameters); !set) return propagate(set, "remount");
  return configure(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr);
}

Result<void> set_mount_attributes(int mount_fd, uint64_t set, uint64_t clear, bool recursive) {
  struct mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  const unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
  if (::mount_setattr(mount_fd, "", flags, &attributes, sizeof attributes) != 0) {
    return errno_fail("mount_setattr");
  }
  return {};
}

}  // namespace loopfs::sys
