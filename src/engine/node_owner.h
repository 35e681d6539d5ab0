// Owner and mode of a node.
#pragma once

#include <sys/types.h>

#include <ctime>

namespace loopfs::engine {

struct NodeOwner {
  mode_t mode = 0600;
  uid_t uid = 0;
  gid_t gid = 0;
  timespec changed = {};
};

}  // namespace loopfs::engine
