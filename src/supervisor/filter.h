// The seccomp filter of a sandbox.
#pragma once

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::supervisor {

// Installs it on the calling thread, for all it starts from here on, and returns its listener: mount(2), umount2(2) and
// open_tree(2) without OPEN_TREE_CLONE wait there; fsopen(2) and fspick(2) are ENOSYS, so that libmount falls back to mount(2); the ioctls that type
// into or paste from the terminal, which the sandbox shares with its user, are EPERM. All else is allowed by
// its number alone, which the kernel remembers: it costs nothing. With `loop_ioctls`, those of
// trapped_loop_ioctls() wait there, too; with `node_calls`, fstat(2) and its like of descriptors of the window
// (window_filter.h). Errors: EBUSY another listener is in charge.
struct FilterOptions {
  bool loop_ioctls = false;
  bool node_calls = false;
};
Result<Fd> install_filter(const FilterOptions& options);

// Whether the listener that is in charge of this process is a loopfs supervisor: it then serves our sandbox
// too.
bool outer_supervisor_is_loopfs();

// The file system type that the question is asked with; never known to a kernel.
inline constexpr const char* kQuestionType = "loopfs.supervisor";

}  // namespace loopfs::supervisor
