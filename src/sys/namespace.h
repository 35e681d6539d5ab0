// Namespaces: unshare(2), setns(2), clone(2), the id maps of user_namespaces(7), pivot_root(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/procfs.h"

namespace loopfs::sys {

// One line of /proc/PID/uid_map.
struct IdRange {
  uint32_t inside = 0;   // first id in the namespace
  uint32_t outside = 0;  // first id in the namespace of the process that reads or writes the map
  uint32_t count = 0;
  bool operator==(const IdRange&) const = default;
};

enum class IdKind { kUser, kGroup };

// `flags` are CLONE_NEW*. Errors of CLONE_NEWUSER: ENOSPC over user.max_user_namespaces or 32 levels, EPERM
// if forbidden by a sysctl, a seccomp filter, or because the caller is in a chroot, EINVAL if the caller has
// threads or the kernel has no such namespaces.
Result<void> unshare_namespaces(int flags);

// `flags` as in setns(2); `fd` is a namespace file or a pidfd.
Result<void> enter_namespaces(int fd, int flags);

// fork(2) with the child as pid 1 of a new pid namespace and as a child of the caller's parent, who gets
// the caller's own exit signal for it. The caller must be single-threaded. Returns 0 in the child, and its
// pid in the caller's pid namespace in the caller.
Result<pid_t> fork_first_process_for_parent();

// Writes the whole map of `pid`, a process of a new child namespace. Errors: EPERM as user_namespaces(7).
Result<void> write_id_map(pid_t pid, IdKind kind, std::span<const IdRange> ranges);

// Makes setgroups(2) impossible in the namespace of `pid`, which allows an unprivileged gid map.
Result<void> deny_setgroups(pid_t pid);

// The lines of a uid_map or gid_map file.
std::string format_id_map(std::span<const IdRange> ranges);

// NS_GET_PARENT of a user namespace. None: it is the first one, or the caller's own (as far up as it can see).
Result<std::optional<Fd>> parent_user_namespace(int fd);

// Whether the user namespace `fd` is `other`, or one inside of it.
bool is_or_is_below(int fd, const NamespaceId& other);

// Whether the thread has CAP_SYS_ADMIN in the user namespace `fd`, or in one that this is in. Waits for nobody.
bool has_sys_admin_over(int fd, pid_t tid);

// NS_GET_OWNER_UID: who made the user namespace, as the caller's numbers the users.
Result<uid_t> owner_of_user_namespace(int fd);

// The id outside that the id inside is, by the lines of a map; none if it is not mapped.
std::optional<uint32_t> map_out(std::span<const IdRange> ranges, uint32_t inside);

// The maps of the process as the caller sees them. Errors: ESRCH, EINVAL.
Result<std::vector<IdRange>> id_map_of(pid_t pid, IdKind kind);

// Real, effective and saved ids 0 in the caller's user namespace; supplementary groups stay.
Result<void> become_root_of_namespace();

// SIGKILL for the caller when the thread that is its parent ends. A change of credentials or an exec of a
// set-id program clears it. Says nothing about a parent that is gone already.
Result<void> die_with_parent();

// Makes the mount at `directory_fd` the root of the calling process's mount namespace, and takes the old root
// away. The working directory is the new root afterwards. Errors: EINVAL the root is the kernel's first one (an
// initramfs), EPERM, EACCES, ENOSYS (a seccomp profile or a security module).
Result<void> pivot_root_to(int directory_fd);

// The same where pivot_root(2) is refused: moves the mount over the old root and calls chroot(2), as switch_root(8)
// does. No path leads back, not even for a process that may chroot(2) again. The old root stays below, and comes
// out for a process with CAP_SYS_ADMIN over the namespace that unmounts the new one. The mounts must be private or
// slaves.
Result<void> cover_root_with(int directory_fd);

// pivot_root_to() or, where that is refused, cover_root_with(). Errors: of the latter.
Result<void> change_root_to(int directory_fd);

// The device number of the file system at `fd`, without asking the file system (a FUSE server may not run
// yet).
Result<dev_t> device_of_mount(int fd);

// A new /dev/fuse descriptor `fresh` that serves the same connection as `mounted`: FUSE_DEV_IOC_CLONE.
Result<void> join_fuse_connection(int fresh, int mounted);

// `name` in the directory itself, whatever is mounted on it elsewhere. Errors: EXDEV something is; ELOOP a link; those of
// open(2).
Result<Fd> open_on_mount(int directory, const std::string& name, int flags);

// openat2(2) with O_PATH below `root_fd` as if that were "/": neither `..` nor a symbolic link leads out of
// it, and magic links are not followed.
Result<Fd> open_path_in_root(int root_fd, const std::string& path, int flags);

}  // namespace loopfs::sys
