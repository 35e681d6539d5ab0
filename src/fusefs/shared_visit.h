// Which inode of a node a caller gets to see where device nodes work, and what it is told of it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "base/error.h"
#include "engine/engine.h"
#include "fusefs/instance_server.h"
#include "fusefs/node_table.h"

namespace loopfs::fusefs {

// Of a path walk by `caller` that has come to the node. One that leads to a kernel
// device is let in by the engine. May block. Errors: ESTALE the node has become something else; those of
// Engine::admit.
Result<Inode> inode_for(engine::Engine& engine, const engine::NodeAttributes& known,
                        const engine::Caller& caller);

// The attributes of the inode, if it still is what its node leads to. The kernel asks for them before each open, also
// through a bind mount or an O_PATH descriptor, where there is no LOOKUP. Errors: ENOENT, and as inode_for.
Result<struct stat> attributes_for(InstanceServer& server, uint64_t number, const engine::Caller& caller);

}  // namespace loopfs::fusefs
