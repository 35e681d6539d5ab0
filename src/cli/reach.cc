#include "cli/reach.h"

namespace loopfs::cli {

Result<void> check_reach(const sys::ForeignProcessProbe& probe) {
  for (const Reach& reach : kReaches) {
    if (const int code = probe.*reach.error; code != 0)
      return sandbox::explained(Result<void>(fail(code, "{} on a process in the sandbox", reach.call)),
                                reach.step);
  }
  return {};
}

}  // namespace loopfs::cli
