// What a child process finds out, or makes, for its parent.
#pragma once

#include <cstdint>
#include <functional>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

struct ChildReport {
  Fd fd;  // may be none
  uint64_t value = 0;
};

inline constexpr int kForEver = -1;

// Runs `act` in a child, which dies with its parent, and returns what that returns. The child's namespaces end with it. `act`
// gets the descriptor that the child must not close. `patience`: milliseconds; then the child is killed. The calling process
// must be single-threaded. Errors: those of `act`; ETIMEDOUT; EIO it ended without a report.
Result<ChildReport> in_child(int patience, const std::function<Result<ChildReport>(int kept)>& act);

}  // namespace loopfs::sys
