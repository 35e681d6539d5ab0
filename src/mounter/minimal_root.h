// The file system that a FUSE program sees: what it needs to start, and its image, but nothing of the user's.
#pragma once

#include <string>

#include "base/error.h"

namespace loopfs::mounter {

inline constexpr const char* kMountPoint = "/mnt";  // an empty directory in it

// The calling process must be alone in a new mount namespace and the first of a new pid namespace, with
// CAP_SYS_ADMIN. Afterwards its "/" holds, read-only: the host's programs and libraries (/usr, /lib*, /bin,
// /sbin, the loader's cache), `executable` itself, /dev/null, /dev/fuse, /dev/urandom, a /proc of the pid
// namespace, and kMountPoint.
Result<void> enter_minimal_root(const std::string& executable);

}  // namespace loopfs::mounter
