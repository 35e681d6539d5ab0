#include "mounter/caller_side.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mounter/mount_points.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/seccomp.h"

namespace loopfs::mounter {

CallerSide::CallerSide(const Request& request, const std::vector<Fd>& fds)
    : request_(request), fds_(fds), proc_(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

Result<void> CallerSide::enter() const {
  if (auto entered = sys::enter_namespaces(fd(kUserNamespace), CLONE_NEWUSER); !entered) return entered;
  if (auto entered = sys::enter_namespaces(fd(kMountNamespace), CLONE_NEWNS); !entered) return entered;
  if (::fchdir(fd(kRootDirectory)) != 0 || ::chroot(".") != 0) return errno_fail("enter the caller's root");
  if (::fchdir(fd(kWorkingDirectory)) != 0) return errno_fail("enter the caller's directory");
  return {};
}

Result<void> CallerSide::enter_mount_namespace(int fd) {
  return sys::enter_namespaces(fd, CLONE_NEWNS);
}

Result<CallerSide::Status> CallerSide::look(const Fd& place) const {
  struct statx status;
  if (::statx(place.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status) != 0) {
    return errno_fail("statx '{}'", request_.path);
  }
  return Status{.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                .node = makedev(status.stx_rdev_major, status.stx_rdev_minor),
                .inode = status.stx_ino,
                .mode = status.stx_mode,
                .mount_root = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
}

Result<Fd> CallerSide::open_place(int flags) const {
  Fd place(::open(request_.path.c_str(), O_PATH | O_CLOEXEC | flags));
  if (!place.valid()) return errno_fail("open '{}'", request_.path);
  return place;
}

Result<Fd> CallerSide::open_place() const {
  return open_place(request_.follow ? 0 : O_NOFOLLOW);
}

Result<Fd> CallerSide::open_target() const {
  return open_place(O_DIRECTORY);
}

std::vector<std::string> CallerSide::mount_points_of(dev_t device) const {
  const Fd file(::openat(proc_.get(), "self/mountinfo", O_RDONLY | O_CLOEXEC));
  std::string text;
  char piece[8192];
  for (ssize_t got; (got = ::read(file.get(), piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<size_t>(got));
  return mount_points(text, device);
}

Result<Fd> CallerSide::copy_of_mount(dev_t device) const {
  for (const auto& point : mount_points_of(device)) {
    auto tree = sys::clone_tree(AT_FDCWD, point, false);
    if (!tree) continue;
    auto found = sys::device_of_mount(tree->get());
    if (found && *found == device) return tree;  // else something is mounted over it
  }
  return fail(EBUSY, "mounted in another namespace");
}

Result<void> CallerSide::attach(int mount, const Fd& target) const {
  // move_mount(2) does not mind; mount(2) does.
  const auto device = sys::device_of_mount(mount);
  if (!device) return propagate(device);
  const auto below = look(target);
  if (!below) return propagate(below);
  if (below->mount_root && below->device == *device) return fail(EBUSY, "mounted there already");
  if (!sys::notification_valid(fd(kListener), request_.notification))
    return fail(EINTR, "the caller is gone");
  return sys::attach_mount(mount, target.get(), "");
}

}  // namespace loopfs::mounter
