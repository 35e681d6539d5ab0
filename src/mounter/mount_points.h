// Where a file system is mounted.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace loopfs::mounter {

// The mount points of the file system `device` (its root, not a folder of it), from the text of a
// /proc/PID/mountinfo, in its order. Pure.
std::vector<std::string> mount_points(const std::string& mountinfo, dev_t device);

}  // namespace loopfs::mounter
