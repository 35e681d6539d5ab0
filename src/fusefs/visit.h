// Which inode of a node a caller gets to see, and what it is told of it.
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

// Of a path walk by the thread `caller` (0: it is out of sight) that has come to the node. One that leads to a kernel
// device is let in by the engine. May block. Errors: ESTALE the node has become something else; those of
// Engine::admit.
Result<Inode> flavour_for(InstanceServer& server, const engine::NodeAttributes& known, pid_t caller);

// The attributes of the inode, if it still is what its node leads to. The kernel asks for them before each open, also
// through a bind mount or an O_PATH descriptor, where there is no LOOKUP. Errors: ENOENT, and as flavour_for.
Result<struct stat> attributes_for(InstanceServer& server, uint64_t number, pid_t caller);

}  // namespace loopfs::fusefs
