// The file-descriptor mount API: fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).
#pragma once

#include <sys/mount.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

struct FuseMountOptions {
  std::string source;   // shown as the source in /proc/self/mountinfo
  std::string subtype;  // shown as "fuse.SUBTYPE"; empty: "fuse"
  mode_t root_mode = S_IFDIR;
  bool allow_other = true;  // any process of the mounter's user namespace
  bool default_permissions = true;
  uint64_t max_read = 0;     // bytes; 0: the kernel's default
  bool read_only = false;    // of the superblock
  bool synchronous = false;  // writes go through at once
  uint64_t attributes = 0;   // MOUNT_ATTR_* of the mount
};

// A detached mount of a FUSE file system whose requests come out of `fuse_fd`, an open /dev/fuse that
// was opened in the calling process's user namespace (the kernel demands it). The kernel translates
// process ids in its requests into the calling process's pid namespace.
Result<Fd> mount_fuse(int fuse_fd, const FuseMountOptions& options);

// A detached mount of a file system of the kernel's ("tmpfs", "proc", "devpts", "mqueue"; with "source" one on a device).
// `parameters` are key=value pairs; an empty value sets a flag. Where there is no fsopen(2), "/proc" of the
// caller's mount namespace is covered for a moment: there, the caller must be alone in its namespace.
Result<Fd> mount_virtual(const std::string& type,
                         const std::vector<std::pair<std::string, std::string>>& parameters,
                         uint64_t attributes);

// A detached copy of the mount at `path` below `directory_fd` (or of the file there, as a bind mount).
Result<Fd> clone_tree(int directory_fd, const std::string& path, bool recursive);

// Attaches the detached mount at `path` below `directory_fd`; an empty path means directory_fd itself.
Result<void> attach_mount(int mount_fd, int directory_fd, const std::string& path);

// MOUNT_ATTR_IDMAP: ids 0, 1, ... on the file system are those of the user namespace. The mount must be detached.
// Errors: EINVAL the file system cannot, EPERM.
Result<void> map_mount(int mount_fd, int user_namespace);

// Gives the superblock of the mount other parameters, as mount_virtual has them. Errors: the kernel's.
Result<void> reconfigure_mount(int mount_fd,
                               const std::vector<std::pair<std::string, std::string>>& parameters);

// Sets and clears MOUNT_ATTR_* of the mount at the fd. Errors: EPERM if one of them is locked.
Result<void> set_mount_attributes(int mount_fd, uint64_t set, uint64_t clear, bool recursive);

}  // namespace loopfs::sys
