// What is on an image, before a program is let loose on it.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace loopfs::mounter {

// The file system's type as libblkid calls it. Parses hostile bytes: call it in a process that has nothing to
// lose. Errors: EINVAL none or several found; also for an ext file system that is larger than its device (the
// kernel refuses those, and fuse2fs would write behind the device's end).
Result<std::string> probe_filesystem(int image, uint64_t offset, uint64_t size);

// Whether libblkid can find file systems of this type.
bool is_known_filesystem(const std::string& type);

}  // namespace loopfs::mounter
