// mount(2) of a device, as asked, with its source looked at.
#pragma once

#include <sys/mount.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/engine.h"
#include "supervisor/mounts.h"

namespace loopfs::supervisor {

struct Wanted {
  std::string source_path, target_path, type, data;
  uint64_t flags = 0;
  std::vector<Fd> places;
  std::optional<engine::NodeId> node;  // of our instance; none: of an inner sandbox's
  std::string name;                    // "/dev/loop0p1"
  dev_t instance = 0;                  // st_dev and st_ino of the source
  ino_t inode = 0;
  dev_t replaced = 0;  // st_dev of the mount whose place it takes

  bool read_only() const { return (flags & MS_RDONLY) != 0; }
  // What is known of the mount before there is one.
  Mount record() const {
    Mount mount;
    mount.node = node;
    mount.instance = instance;
    mount.inode = inode;
    mount.source = name;
    mount.type = type;
    return mount;
  }
};

}  // namespace loopfs::supervisor
