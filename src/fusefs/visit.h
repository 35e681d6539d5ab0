// What a caller is told of an inode.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "fusefs/instance_server.h"
#include "fusefs/node_table.h"

namespace loopfs::fusefs {

constexpr off_t kBlock = 4096;  // st_blksize, and what statfs(2) counts in

// None: it is no entry, or has been removed.
std::optional<Entry> entry_of(InstanceServer& server, uint64_t number);
// Of the root and of entries. Errors: ENOENT it is neither.
Result<struct stat> attributes_beside_nodes(InstanceServer& server, uint64_t number);
struct stat attributes_of(const Inode& inode, const engine::NodeAttributes& node);
struct stat attributes_of(const Entry& entry);

}  // namespace loopfs::fusefs
