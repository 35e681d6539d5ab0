#include "daemon/filesystem.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <string_view>

namespace loopfs::daemon {
namespace {

// Options that name no other file or device, do not panic the host, and change nothing but this mount.
constexpr std::string_view kHarmless[] = {
    // clang-format off
    // all
    "async", "sync", "dirsync",
    // ext4
    "acl", "noacl", "user_xattr", "nouser_xattr", "barrier", "nobarrier", "discard", "nodiscard", "noload",
    "norecovery", "lazytime", "nolazytime", "delalloc", "nodelalloc", "data", "commit", "init_itable",
    "noinit_itable", "auto_da_alloc", "noauto_da_alloc", "minixdf", "bsddf", "grpid", "bsdgroups",
    "nogrpid", "sysvgroups", "resuid", "resgid", "sb", "stripe", "debug", "oldalloc", "orlov",
    "journal_checksum", "nojournal_checksum", "journal_async_commit", "journal_ioprio", "dioread_lock",
    "dioread_nolock", "min_batch_time", "max_batch_time", "inode_readahead_blks", "mbcache", "nombcache",
    "no_mbcache", "mb_optimize_scan", "prefetch_block_bitmaps", "no_prefetch_block_bitmaps",
    "block_validity", "noblock_validity", "i_version", "nouid32", "max_dir_size_kb", "quota", "noquota",
    "usrquota", "grpquota", "prjquota",
    // xfs, btrfs
    "nouuid", "inode64", "inode32", "largeio", "nolargeio", "attr2", "compress", "compress-force", "subvol",
    "subvolid", "autodefrag", "noautodefrag", "space_cache", "nospace_cache", "ssd", "nossd",
    "skip_balance", "logbufs", "logbsize", "uquota", "gquota", "pquota", "swalloc", "noalign",
    // vfat, exfat, ntfs3
    "uid", "gid", "umask", "fmask", "dmask", "iocharset", "codepage", "shortname", "utf8", "check", "flush",
    "quiet", "tz", "time_offset", "allow_utime", "nonumtail", "showexec", "dots", "sys_immutable", "rodir",
    "usefree",
    // erofs
    "cache_strategy",
    // squashfs
    "threads",
    // clang-format on
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

namespace {

bool is_for_kernel(const policy::Rules& rules, const std::string& type) {
  return rules.mount == policy::MountPolicy::kKernel &&
         std::ranges::find(rules.filesystems, type) != rules.filesystems.end();
}

// Those that the driver of ext4 takes as well.
bool is_older_ext(const std::string& type) {
  return type == "ext2" || type == "ext3";
}

// None where the kernel cannot.
Result<std::optional<porter::ForeignMount>> unless_unknown(Result<porter::ForeignMount>& mount) {
  if (mount) return std::optional<porter::ForeignMount>(std::move(*mount));
  if (mount.error().code == ENODEV || mount.error().code == EOPNOTSUPP) return std::nullopt;
  return propagate(mount);
}

// What is asked of a porter, and the device, held until the mount holds it: the path is of this one and no other.
struct Prepared {
  Fd device;
  porter::MountOrder order;
};

Result<Prepared> prepare(const Instance& instance, const FilesystemRequest& request) {
  auto options = checked_options(request.type, request.options);
  if (!options) return propagate(options);
  const auto binding = instance.engine->binding(request.device);
  if (!binding) return fail(EIO, "loop{}: not bound", request.device);
  auto device = binding->open(request.partition, O_RDONLY);
  if (!device) return propagate(device);
  const std::string partition = request.partition != 0 ? fmt::format("p{}", request.partition) : "";
  const int fd = device->get();
  return Prepared{
      std::move(*device),
      {.mount = {.type = request.type,
                 .node = fmt::format("/dev/loop{}{}", binding->number(), partition),
                 .source = fmt::format("/dev/loop{}{}", request.device, partition),
                 .parameters = std::move(*options),
                 .read_only = request.read_only,
                 .attributes = request.attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                 .user_namespace = instance.lineage.first_namespace ? -1 : instance.user_namespace.get()},
       .device = fd,
       .hangup = request.hangup}};
}

}  // namespace

Result<std::optional<porter::ForeignMount>> mount_filesystem(Instance& instance, const policy::Rules& rules,
                                                             const FilesystemRequest& request) {
  if (rules.mount == policy::MountPolicy::kDeny) return fail(EPERM, "mount: the configuration forbids it");
  if (!is_for_kernel(rules, request.type)) return std::nullopt;
  auto prepared = prepare(instance, request);
  if (!prepared) return propagate(prepared);
  auto mount = porter::mount_filesystem(instance.strangers, prepared->order);
  if (mount || mount.error().code != EOPNOTSUPP || !is_older_ext(request.type)) return unless_unknown(mount);
  // The image is one: it is the type's driver that cannot map ids.
  prepared->order.mount.type = "ext4";
  auto again = porter::mount_filesystem(instance.strangers, prepared->order);
  return unless_unknown(again);
}

Result<void> remount_filesystem(Instance& instance, const policy::Rules& rules,
                                const FilesystemRequest& request) {
  if (!is_for_kernel(rules, request.type)) return fail(EPERM, "remount: the configuration forbids it");
  auto prepared = prepare(instance, request);
  if (!prepared) return propagate(prepared);
  if (!instance.lineage.first_namespace && is_older_ext(request.type)) prepared->order.mount.type = "ext4";
  return porter::remount_filesystem(instance.strangers, prepared->order);
}

}  // namespace loopfs::daemon
