// Descriptors that a forked process must not keep.
#pragma once

#include <vector>

namespace loopfs::sandbox {

// Closes every close-on-exec descriptor that is not in `kept`: those are loopfs's own (a copy of a FUSE channel
// or a lifeline in the sandbox would outlive loopfs), the others are the command's to inherit.
void close_private_fds(const std::vector<int>& kept);

// Closes every descriptor that is not in `kept`.
void close_all_fds(const std::vector<int>& kept);

}  // namespace loopfs::sandbox
