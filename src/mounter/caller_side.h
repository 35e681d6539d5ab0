// The caller of mount(2) or umount2(2): its namespaces, and paths as it means them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/protocol.h"
#include "mounter/worker.h"

namespace loopfs::mounter {

// Of one request. Single-threaded.
class CallerSide {
 public:
  // Before enter(): the host's /proc is out of reach afterwards. Both are borrowed.
  CallerSide(const Request& request, const std::vector<Fd>& fds);

  int fd(RequestFd which) const { return which < fds_.size() ? fds_[which].get() : -1; }

  // From here on every path means what it means to the caller.
  Result<void> enter() const;
  // Another mount namespace of the caller's user namespace; paths begin at its root.
  static Result<void> enter_mount_namespace(int fd);

  struct Status {
    dev_t device = 0, node = 0;
    ino_t inode = 0;
    mode_t mode = 0;
    bool mount_root = false;  // the root of a mount
  };
  // Never asks the file system itself: a dead or stuck FUSE server must not hold us.
  Result<Status> look(const Fd& place) const;

  // The path of the request, as O_PATH.
  Result<Fd> open_place(int flags) const;
  Result<Fd> open_place() const;  // as the request says of a link
  // Where something is to be mounted: the root of a file system is a directory.
  Result<Fd> open_target() const;

  // The mounts of the file system `device` in the caller's tree, by their mount points.
  std::vector<std::string> mount_points_of(dev_t device) const;
  // Errors: EBUSY it has none.
  Result<Fd> copy_of_mount(dev_t device) const;

  // Attaches the detached mount, while the caller waits. Errors: EINTR it does not, EBUSY the target is the root of a mount of
  // the same file system.
  Result<void> attach(int mount, const Fd& target) const;

 private:
  const Request& request_;
  const std::vector<Fd>& fds_;
  Fd proc_;
};

}  // namespace loopfs::mounter
