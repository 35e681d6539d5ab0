// Carries out an id map plan: reads what the machine gives the user, writes the maps.
#pragma once

#include "base/error.h"
#include "sandbox/id_map.h"

namespace loopfs::sandbox {

// What /proc, /etc/subuid, /etc/subgid and the helpers say about the calling process.
IdFacts read_id_facts();

// Fills the maps of `pid`, a process in a new child of the caller's user namespace. After an error the maps
// may be half written, and that namespace is of no more use.
Result<void> apply_id_maps(const IdMapPlan& plan, pid_t pid);

}  // namespace loopfs::sandbox
