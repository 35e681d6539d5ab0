// What a caller is told of an inode.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "fusefs/instance_server.h"
#include "fusefs/node_table.h"

namespace loopfs::fusefs {

constexpr off_t kBlock = 4096;  // st_blksize, and what statfs(2) counts in

struct stat root_attributes(const InstanceServer& server);
struct stat attributes_of(const Inode& inode, const engine::NodeAttributes& node);

}  // namespace loopfs::fusefs
