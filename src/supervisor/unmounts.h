// umount(2) and umount2(2).
#pragma once

#include "supervisor/caller_request.h"
#include "supervisor/mount_tables.h"

namespace loopfs::supervisor {

// Thread-safe.
class Unmounts {
 public:
  explicit Unmounts(MountTables& tables) : tables_(tables) {}

  // `flags`: of umount2(2).
  Answer unmount(const Target& target, uint64_t flags);

 private:
  MountTables& tables_;
};

}  // namespace loopfs::supervisor
