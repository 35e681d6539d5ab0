// Which file a descriptor of ours has open, without asking its file system.
#pragma once

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

}  // namespace loopfs::sys
