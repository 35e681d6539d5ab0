// kMount: a FUSE program is started on an image, and what it serves is mounted.
#pragma once

#include "mounter/caller_side.h"
#include "mounter/outcome.h"

namespace loopfs::mounter {

// The caller's side has not been entered yet, and is at the end.
Outcome mount_by_program(const Request& request, const CallerSide& caller);

}  // namespace loopfs::mounter
