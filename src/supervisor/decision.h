// Which mount(2) calls are the supervisor's business.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace loopfs::supervisor {

enum class Decision {
  kContinue,  // the kernel's, with the caller's own rights
  kMount,     // may be a loop device: look at the source
  kRemount,   // may be a mount of ours: look at the target
  kBind,      // may be one of mount(8)'s for X-mount.subdir: look at the source's name
  kQuestion,  // outer_supervisor_is_loopfs() asks
};

// `virtual_types`: the file systems of this kernel that need no device. Pure.
Decision decide_mount(uint64_t flags, const std::string& type, const std::set<std::string>& virtual_types);

// The "nodev" lines of the text of /proc/filesystems.
std::set<std::string> parse_virtual_types(const std::string& text);

// The others: those that want a block device.
std::set<std::string> parse_device_types(const std::string& text);

// The flags of mount(2) without the magic number that old programs put into them.
uint64_t without_magic(uint64_t flags);

// "/proc/self/fd/5" as another process may open it: `pid` is what the caller's own /proc calls it.
std::string rewrite_proc_self(const std::string& path, int pid, int tid);

}  // namespace loopfs::supervisor
