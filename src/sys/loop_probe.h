// What the kernel's loop driver does, found out by doing it. For `loopfs doctor`.
#pragma once

#include <linux/loop.h>

#include "base/error.h"

namespace loopfs::sys {

// Whether LOOP_CLR_FD leaves a device bound for as long as somebody, the caller included, has it open. Makes a
// device of a number that nobody else uses, binds it to memory, and removes it. Errors: EACCES, EPERM only root
// may; ENOENT without /dev/loop-control, or where new devices do not appear in /dev.
Result<bool> probe_clears_at_last_close();

// The same of a device that is bound, open only as `device`, and clear afterwards; `config` is what it was bound with.
// Errors: those of LOOP_CLR_FD.
Result<bool> clears_at_last_close(int device, const loop_config& config);

}  // namespace loopfs::sys
