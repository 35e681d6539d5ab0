// The sandbox's own /dev.
#pragma once

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sandbox {

// Names in it that are not for users. A process in a user namespace may mount a new proc or sysfs only if its
// mount namespace shows a whole one, and the views make the usual ones partial: hence the plain second copies.
constexpr char kInstanceName[] = "loopfs";
constexpr char kHiddenName[] = ".loopfs";
constexpr char kPlainProc[] = ".loopfs/proc";
constexpr char kPlainSys[] = ".loopfs/sys";
constexpr char kViewName[] = ".loopfs/view";

// Mounts a tmpfs on "dev" below `root_fd` and fills it: the host's harmless nodes as bind mounts, a devpts,
// shm, the usual links, a plain copy of sysfs, and the empty directories that the instance, the view and the
// plain proc are to be mounted on. Returns the directory. The host's /dev must still be in place at "/dev".
Result<Fd> build_dev_tree(int root_fd);

// Mounts the detached mount on the directory or file at `path` below `root_fd`, which is taken as "/".
Result<void> mount_in_root(int mount_fd, int root_fd, const std::string& path);

}  // namespace loopfs::sandbox
