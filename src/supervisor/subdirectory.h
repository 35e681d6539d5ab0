// The option X-mount.subdir of mount(8), where it has only mount(2).
#pragma once

#include <string>

#include "mounter/agent.h"
#include "supervisor/caller_request.h"

namespace loopfs::supervisor {

// Whether a bind mount has this source for the option's sake: libmount has mounted the whole file system there, in a mount
// namespace that it has made for the purpose.
bool is_subdirectory_of_mount(const std::string& source);

// libmount binds the subdirectory in that new namespace and counts on the mount to come to the old one by itself, which
// happens only where the two share their mounts. So it is bound in the old one, which the caller holds open to go
// back to. None: there is no such descriptor, or more than one.
Answer bind_subdirectory(mounter::Agent& agent, const Target& target);

}  // namespace loopfs::supervisor
