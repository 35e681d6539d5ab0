// What users do with the entries of a whole /dev (entries.h).
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include "engine/engine.h"

namespace loopfs::fusefs {

// fuse_file_info::fh of every open file that is an entry: nothing is kept of it. No handle of a node's has this number.
constexpr uint64_t kEntryHandle = uint64_t{1} << 63;

// What is behind it: a file that is empty, and stays so.
engine::OpenNode& empty_file();

// Each false: the request is about a node, and not answered yet.
bool lookup_entry(fuse_req_t request, uint64_t parent, const char* name);
bool open_entry(fuse_req_t request, uint64_t number);
bool unlink_entry(fuse_req_t request, uint64_t parent, const char* name);

// What makes, renames and removes entries, and reads links. EPERM for names of nodes, and where there are no entries.
void add_entry_operations(fuse_lowlevel_ops& operations);

}  // namespace loopfs::fusefs
