// A file system of the kernel's on a stranger's device, made in a process and a mount namespace of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::porter {

struct KernelMount {
  std::string type;
  std::string node;    // the host's name of the device, "/dev/loop100003"
  std::string source;  // its name where it is mounted, "/dev/loop0", which mount tables show
  std::vector<std::pair<std::string, std::string>> parameters;  // an empty value sets a flag
  bool read_only = false;
  uint64_t attributes = 0;  // MOUNT_ATTR_*
  int user_namespace = -1;  // that the mount's ids are of; -1: those of the machine
};

// A detached mount. In a user namespace its ids are that one's, and what of nosuid, nodev and the access times it has is locked:
// who has all rights there cannot change that. Errors: the kernel's; ENODEV it has no such file system, EOPNOTSUPP that one
// cannot have ids of a user namespace. The caller must be single-threaded.
Result<Fd> make_kernel_mount(const KernelMount& wanted);

// Gives the superblock, which must be mounted somewhere, `parameters` and `read_only`. Errors: the kernel's.
Result<void> reconfigure_kernel_mount(const KernelMount& wanted);

}  // namespace loopfs::porter
