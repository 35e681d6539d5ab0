#include "sys/namespace.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <linux/nsfs.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fstream>

#include "sys/process.h"

namespace loopfs::sys {
namespace {

Result<void> write_proc_file(pid_t pid, const char* name, const std::string& text) {
  const std::string path = fmt::format("/proc/{}/{}", pid, name);
  Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno_fail("open '{}'", path);
  // One write: the kernel takes a map only whole.
  if (::write(file.get(), text.data(), text.size()) < 0) return errno_fail("write '{}'", path);
  return {};
}

}  // namespace

Result<void> unshare_namespaces(int flags) {
  if (::unshare(flags) != 0) return errno_fail("unshare");
  return {};
}

Result<void> enter_namespaces(int fd, int flags) {
  if (::setns(fd, flags) != 0) return errno_fail("setns");
  return {};
}

Result<pid_t> fork_first_process_for_parent() {
  // clone(2), not clone3(2): container runtimes answer ENOSYS for the latter. With CLONE_PARENT the child's
  // exit signal is the caller's own, whatever the low bits say.
  const long pid = ::syscall(SYS_clone, CLONE_NEWPID | CLONE_PARENT, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0) return errno_fail("clone into a new pid namespace");
  return static_cast<pid_t>(pid);
}

std::string format_id_map(std::span<const IdRange> ranges) {
  std::string text;
  for (const IdRange& range : ranges) {
    text += fmt::format("{} {} {}\n", range.inside, range.outside, range.count);
  }
  return text;
}

Result<void> write_id_map(pid_t pid, IdKind kind, std::span<const IdRange> ranges) {
  return write_proc_file(pid, kind == IdKind::kUser ? "uid_map" : "gid_map", format_id_map(ranges));
}

Result<void> deny_setgroups(pid_t pid) {
  return write_proc_file(pid, "setgroups", "deny");
}

Result<std::optional<Fd>> parent_user_namespace(int fd) {
  Fd parent(::ioctl(fd, NS_GET_PARENT));
  if (parent.valid()) return std::optional<Fd>(std::move(parent));
  if (errno == EPERM) return std::optional<Fd>();
  return errno_fail("NS_GET_PARENT");
}

bool is_or_is_below(int fd, const NamespaceId& other) {
  std::optional<Fd> above;
  for (int level = fd;; level = above->get()) {
    const auto id = namespace_id(level);
    if (!id) return false;
    if (*id == other) return true;
    auto parent = parent_user_namespace(level);
    if (!parent || !*parent) return false;
    above = std::move(*parent);
  }
}

bool has_sys_admin_over(int fd, pid_t tid) {
  const auto capabilities = effective_capabilities_of(tid);
  if (!capabilities || ((*capabilities >> CAP_SYS_ADMIN) & 1) == 0) return false;
  const auto theirs = user_namespace_of(tid);
  return theirs && is_or_is_below(fd, *theirs);
}

Result<uid_t> owner_of_user_namespace(int fd) {
  uid_t owner = 0;
  if (::ioctl(fd, NS_GET_OWNER_UID, &owner) != 0) return errno_fail("NS_GET_OWNER_UID");
  return owner;
}

std::optional<uint32_t> map_out(std::span<const IdRange> ranges, uint32_t inside) {
  for (const IdRange& range : ranges) {
    if (inside - range.inside < range.count) return range.outside + (inside - range.inside);
  }
  return std::nullopt;
}

Result<std::vector<IdRange>> id_map_of(pid_t pid, IdKind kind) {
  const std::string path = fmt::format("/proc/{}/{}", pid, kind == IdKind::kUser ? "uid_map" : "gid_map");
  std::ifstream file(path);
  if (!file) return fail(ESRCH, "open '{}'", path);
  std::vector<IdRange> ranges;
  for (IdRange range; file >> range.inside >> range.outside >> range.count;) ranges.push_back(range);
  return ranges;
}

Result<void> become_root_of_namespace() {
  if (::setresgid(0, 0, 0) != 0) return errno_fail("setresgid 0");
  if (::setresuid(0, 0, 0) != 0) return errno_fail("setresuid 0");
  return {};
}

Result<void> die_with_parent() {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return errno_fail("prctl PR_SET_PDEATHSIG");
  return {};
}

Result<void> pivot_root_to(int directory_fd) {
  if (::fchdir(directory_fd) != 0) return errno_fail("fchdir to the new root");
  // With both arguments the same, the old root ends up stacked on the new one: see pivot_root(2).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return errno_fail("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return errno_fail("unmount the old root");
  if (::chdir("/") != 0) return errno_fail("chdir '/'");
  return {};
}

Result<void> cover_root_with(int directory_fd) {
  if (::fchdir(directory_fd) != 0) return errno_fail("fchdir to the new root");
  if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) return errno_fail("move the new root over '/'");
  // "/" itself still is the old root for this process; "." has become what lies over it.
  if (::chroot(".") != 0) return errno_fail("chroot");
  if (::chdir("/") != 0) return errno_fail("chdir '/'");
  return {};
}

Result<void> change_root_to(int directory_fd) {
  auto pivoted = pivot_root_to(directory_fd);
  if (pivoted) return pivoted;
  auto covered = cover_root_with(directory_fd);
  if (!covered) return propagate(covered, "{}", pivoted.error().message());
  return covered;
}

Result<dev_t> device_of_mount(int fd) {
  struct statx status = {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) != 0) return errno_fail("statx");
  return makedev(status.stx_dev_major, status.stx_dev_minor);
}

Result<void> join_fuse_connection(int fresh, int mounted) {
  uint32_t source = static_cast<uint32_t>(mounted);
  if (::ioctl(fresh, FUSE_DEV_IOC_CLONE, &source) != 0) return errno_fail("FUSE_DEV_IOC_CLONE");
  return {};
}

Result<Fd> open_on_mount(int directory, const std::string& name, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
  Fd fd(static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)));
  if (!fd.valid()) return errno_fail("open '{}'", name);
  return fd;
}

Result<Fd> open_path_in_root(int root_fd, const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(O_PATH | O_CLOEXEC | flags);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  Fd fd(static_cast<int>(::syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how)));
  if (!fd.valid()) return errno_fail("open '{}'", path);
  return fd;
}

}  // namespace loopfs::sys
