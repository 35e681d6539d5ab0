// The file systems whose FUSE programs the sandbox runs itself (mount.ntfs), and the ends of those programs.
#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <vector>

#include "base/fd.h"
#include "sys/procfs.h"

namespace loopfs::supervisor {

// They asked for "fuseblk", whose unmount waits until the program has written everything and let go of the device.
// What they got is "fuse", whose unmount does not: the supervisor waits in its place. Thread-safe.
class ServedMounts {
 public:
  struct Program {
    Fd pidfd;
    Fd channel;  // a duplicate of its /dev/fuse: for the time of one unmount only, since it keeps the connection
  };

  // `device` is the file system's st_dev; its program is in this pid namespace.
  void add(dev_t device, sys::NamespaceId pids);
  bool contains(dev_t device) const;
  bool empty() const;  // none ever was there

  // Before an unmount of the file system: the programs of its pid namespace that serve any.
  std::vector<Program> programs(dev_t device) const;
  // After it: those that lost theirs are waited for, at most kPatience seconds.
  static constexpr int kPatience = 5;
  static void wait_for_end(std::vector<Program> programs);

 private:
  mutable std::mutex mutex_;
  std::map<dev_t, sys::NamespaceId> mounts_;  // also of those that are gone: a number for each at most
};

// POLLERR: the kernel has no superblock for this /dev/fuse any more.
bool disconnected(const Fd& channel);

}  // namespace loopfs::supervisor
