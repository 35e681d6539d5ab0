// From the arguments of mount(2) to what a FUSE program and the kernel are told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "mounter/config.h"

namespace loopfs::mounter {

struct MountPlan {
  bool read_only = false;                // the superblock
  bool synchronous = false;              // MS_SYNCHRONOUS
  uint64_t attributes = 0;               // MOUNT_ATTR_* of the mount
  std::vector<std::string> options;      // of the program
  std::vector<std::string> unsupported;  // asked for, and without effect
};

// MOUNT_ATTR_* for the MS_* bits that are a mount's own.
uint64_t attributes_of_flags(unsigned long flags);

// `flags` and `data` as in mount(2). Errors: EINVAL an option that neither the program nor the kernel's own
// file system knows.
Result<MountPlan> plan_mount(unsigned long flags, const std::string& data, const Program& program);

// Whether mount(2) with type `asked` takes a file system that libblkid calls `found`, as the kernel's own
// would.
bool type_accepts(const std::string& asked, const std::string& found);

}  // namespace loopfs::mounter
