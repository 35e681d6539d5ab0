// What a process may do with a file that is open already, by its own rights or by those of a user namespace
// that it owns. A FUSE mount of that namespace, for one, refuses open(2) and fstat(2) to all who are outside
// of it.
#pragma once

#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

// open(2) of the file behind `fd` with `flags`. Where this process's own rights do not suffice (EACCES), with
// the rights of root in `user_namespace`, which it must own; below 0: without that. Thread-safe.
// Errors: those of open(2).
Result<Fd> reopen(int fd, int flags, int user_namespace);

// fstat(2), in the same way. Errors: those of fstat(2).
Result<struct stat> stat_of_fd(int fd, int user_namespace);

}  // namespace loopfs::sys
