// What mount(8) notes of the sandbox's mounts.
#pragma once

#include "base/error.h"

namespace loopfs::sandbox {

// libmount keeps options that are for user space only (x-systemd.*) in /run/mount/utab, and its temporary mounts beside it. The
// host's is not the sandbox's: a tmpfs covers the folder. Nothing is made in a tree of the user's: where that has none, the
// environment of what is started from here on names another file. The caller must have one thread.
Result<void> separate_mount_state(int root_fd);

}  // namespace loopfs::sandbox
