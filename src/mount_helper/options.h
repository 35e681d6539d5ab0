// The command line of mount.loopfs, as mount(8) calls its helpers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace loopfs::mount_helper {

struct Options {
  std::string directory;
  std::string socket = "/run/loopfs/io.loopfs.Manager";
  std::optional<uint32_t> max, uid, gid, mode;
  uint64_t attributes = 0;  // MOUNT_ATTR_* of the mount
  bool fake = false;        // mount -f: do all but the mount
  bool sloppy = false;      // mount -s: leave unknown options be
  bool help = false, version = false;
};

// `words`: without the program's name. Errors: EINVAL.
Result<Options> parse(const std::vector<std::string>& words);

}  // namespace loopfs::mount_helper
