// What the view's file system holds, and where in the sandbox each part belongs.
#pragma once

namespace loopfs::view {

struct Part {
  const char* name;    // in the root directory of the view's file system
  const char* target;  // the place in the sandbox that it covers
  bool directory;
};

inline constexpr Part kParts[] = {
    {"block", "/sys/block", true},
    {"class_block", "/sys/class/block", true},
    {"dev_block", "/sys/dev/block", true},
    {"virtual_block", "/sys/devices/virtual/block", true},
    {"partitions", "/proc/partitions", false},
    {"udev_data", "/run/udev/data", true},
};

}  // namespace loopfs::view
