// How loopfsd ends when it cannot serve.
#pragma once

#include "base/error.h"

namespace loopfs::daemon {

// keeper::kGiveUpStatus for what starting again does not mend: the configuration, the command line, the kernel, what the
// machine or the caller lacks, numbers or a socket that another daemon has. 1 for what may be gone the next time, as a
// want of memory or somebody who has a device open. loopfsd.service goes by it, too.
int exit_status(const Error& error);

}  // namespace loopfs::daemon
