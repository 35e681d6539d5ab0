// The sandbox's own /dev.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sandbox {

// Names in it that are not for users. A process in a user namespace may mount a new proc or sysfs only if its
// mount namespace shows a whole one, and the views make the usual ones partial: hence the plain second copies.
constexpr char kPlainProc[] = ".loopfs/proc";
constexpr char kPlainSys[] = ".loopfs/sys";
constexpr char kViewName[] = ".loopfs/view";

// What the sandbox keeps of the host's /dev: detached copies, taken before it is covered.
class HostMounts {
 public:
  static HostMounts copy();

 private:
  friend Result<void> fill_dev_tree(int dev, const HostMounts& hosts);
  struct HostMount {
    std::string name;  // in the new /dev
    Fd mount;
    bool directory = false;
  };
  void add(const std::string& path, const std::string& name, bool directory);

  std::vector<HostMount> mounts_;
};

// Fills `dev`, the mount of the instance, whose server must answer: the host's harmless nodes as bind mounts, a devpts,
// shm, the usual links, a plain copy of sysfs, and the empty directories that the view and the plain proc are to be
// mounted on.
Result<void> fill_dev_tree(int dev, const HostMounts& hosts);

// Mounts the detached mount on the directory or file at `path` below `root_fd`, which is taken as "/".
Result<void> mount_in_root(int mount_fd, int root_fd, const std::string& path);

}  // namespace loopfs::sandbox
