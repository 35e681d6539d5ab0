// Which file a descriptor has open, without asking its file system.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"

namespace loopfs::sys {

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

// As fstat(2), but a FUSE server is sent no request, and one that lets only its own user namespace in
// answers, too (fstat gives EACCES there). Errors: EBADF, ENOENT without /proc.
Result<FileIdentity> file_identity(int fd);

// The same of a descriptor of the thread `tid`, which is not duplicated for it: a FUSE server hears of every descriptor that
// is closed. `known`: what else the kernel tells of it, such as its mount; may be null.
Result<FileIdentity> file_identity_of(pid_t tid, int fd, struct statx* known);

}  // namespace loopfs::sys
