#include "daemon/filesystem.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <string_view>

namespace loopfs::daemon {
namespace {

// Options that name no other file or device, do not panic the host, and change nothing but this mount.
constexpr std::string_view kHarmless[] = {
    // ext4
    "acl",
    "noacl",
    "user_xattr",
    "nouser_xattr",
    "barrier",
    "nobarrier",
    "discard",
    "nodiscard",
    "noload",
    "norecovery",
    "lazytime",
    "nolazytime",
    "delalloc",
    "nodelalloc",
    "data",
    "commit",
    "init_itable",
    "noinit_itable",
    "auto_da_alloc",
    "noauto_da_alloc",
    "minixdf",
    "bsddf",
    // xfs, btrfs
    "nouuid",
    "inode64",
    "inode32",
    "largeio",
    "nolargeio",
    "attr2",
    "compress",
    "compress-force",
    "subvol",
    "subvolid",
    "autodefrag",
    "noautodefrag",
    "space_cache",
    "nospace_cache",
    "ssd",
    "nossd",
    "skip_balance",
    // vfat, exfat
    "umask",
    "fmask",
    "dmask",
    "iocharset",
    "codepage",
    "shortname",
    "utf8",
    "check",
    "flush",
    "quiet",
    "tz",
    "time_offset",
    "allow_utime",
    // erofs
    "cache_strategy",
};

struct Fixed {
  std::string_view type;
  std::string_view key, value;
};
// What the superblock says of it is the container's: it could ask for a panic of the host.
constexpr Fixed kFixed[] = {{"ext2", "errors", "remount-ro"},  {"ext3", "errors", "remount-ro"},
                            {"ext4", "errors", "remount-ro"},  {"vfat", "errors", "remount-ro"},
                            {"exfat", "errors", "remount-ro"}, {"squashfs", "errors", "continue"}};

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> checked_options(const std::string& type,
                                                                         const std::string& list) {
  std::vector<std::pair<std::string, std::string>> options;
  std::string_view rest = list;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view word = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const size_t equals = std::min(word.find('='), word.size());
    const std::string_view key = word.substr(0, equals);
    if (word.empty() || key == "errors") continue;
    if (std::ranges::find(kHarmless, key) == std::end(kHarmless)) {
      return fail(EINVAL, "mount option '{}' is not allowed", key);
    }
    options.emplace_back(key, equals < word.size() ? word.substr(equals + 1) : std::string_view());
  }
  for (const Fixed& fixed : kFixed) {
    if (fixed.type == type) options.emplace_back(fixed.key, fixed.value);
  }
  return options;
}

Result<std::optional<porter::ForeignMount>> mount_filesystem(Instance& instance, const policy::Rules& rules,
                                                             const FilesystemRequest& request) {
  if (rules.mount == policy::MountPolicy::kDeny) return fail(EPERM, "mount: the configuration forbids it");
  if (rules.mount != policy::MountPolicy::kKernel ||
      std::ranges::find(rules.filesystems, request.type) == rules.filesystems.end()) {
    return std::nullopt;
  }
  auto options = checked_options(request.type, request.options);
  if (!options) return propagate(options);
  const auto binding = instance.engine->binding(request.device);
  if (!binding) return fail(EIO, "loop{}: not bound", request.device);
  // Held until the mount holds it: the path is of this device and no other.
  auto device = binding->open(request.partition, O_RDONLY);
  if (!device) return propagate(device);
  std::string path = fmt::format("/dev/loop{}", binding->number());
  if (request.partition != 0) path += fmt::format("p{}", request.partition);
  std::vector<std::pair<std::string, std::string>> parameters{{"source", path}};
  if (request.read_only) parameters.emplace_back("ro", "");
  parameters.insert(parameters.end(), options->begin(), options->end());
  auto mount = porter::mount_filesystem(
      instance.strangers,
      {.type = request.type,
       .parameters = std::move(parameters),
       .attributes = request.attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
       .device = device->get(),
       .user_namespace = instance.lineage.first_namespace ? -1 : instance.user_namespace.get(),
       .hangup = request.hangup});
  if (!mount) return propagate(mount);
  return std::optional<porter::ForeignMount>(std::move(*mount));
}

}  // namespace loopfs::daemon
