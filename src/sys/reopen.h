// A new open file description of a file that is open already.
#pragma once

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

// open(2) of the file behind `fd` with `flags`. Where this process's own rights do not suffice (EACCES), with
// the rights of root in `user_namespace`, which it must own; below 0: without that. Thread-safe.
// Errors: those of open(2).
Result<Fd> reopen(int fd, int flags, int user_namespace);

}  // namespace loopfs::sys
