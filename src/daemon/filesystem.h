// File systems that the kernel mounts for a container.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "daemon/instance.h"
#include "policy/config.h"

namespace loopfs::daemon {

struct FilesystemRequest {
  uint32_t device = 0, partition = 0;
  std::string type;
  std::string options;      // as mount(2) has them in `data`
  uint64_t attributes = 0;  // MOUNT_ATTR_*
  bool read_only = false;
  int hangup = -1;  // as porter::Errand::ask
};

// A detached mount, idmapped to the instance's user namespace, nosuid and nodev. None: by the rules it is not
// for the kernel to mount. The kernel reads what the user has written, and may change at any time: `rules` are
// what keeps the kernel's file systems from users that nobody trusts so far.
// None as well: the kernel has no such file system, or none whose ids can be a user namespace's.
// Errors: EPERM the rules forbid it, EINVAL an option that is not known to be harmless, the kernel's own.
Result<std::optional<porter::ForeignMount>> mount_filesystem(Instance& instance, const policy::Rules& rules,
                                                             const FilesystemRequest& request);

// The superblock of what was mounted so: read_only, and the options. Errors: the same; EPERM it is not for the kernel to
// mount, EBUSY files are open for writing.
Result<void> remount_filesystem(Instance& instance, const policy::Rules& rules,
                                const FilesystemRequest& request);

// The options of the list that are given to the kernel, and those that always are. Pure. Errors: EINVAL.
Result<std::vector<std::pair<std::string, std::string>>> checked_options(const std::string& type,
                                                                         const std::string& list);

}  // namespace loopfs::daemon
