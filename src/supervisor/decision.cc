#include "supervisor/decision.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <sstream>

#include "supervisor/filter.h"

namespace loopfs::supervisor {

uint64_t without_magic(uint64_t flags) {
  constexpr uint64_t kMagic = 0xC0ED0000, kMagicMask = 0xffff0000;
  return (flags & kMagicMask) == kMagic ? flags & ~kMagicMask : flags;
}

Decision decide_mount(uint64_t flags, const std::string& type, const std::set<std::string>& virtual_types) {
  flags = without_magic(flags);
  if ((flags & MS_REMOUNT) != 0) return (flags & MS_BIND) != 0 ? Decision::kContinue : Decision::kRemount;
  if ((flags & MS_BIND) != 0) return Decision::kBind;
  constexpr uint64_t kOfMounts = MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
  if ((flags & kOfMounts) != 0) return Decision::kContinue;
  if (type == kQuestionType) return Decision::kQuestion;
  if (type.empty() || type.starts_with("fuse.") || type.starts_with("fuseblk.")) {
    return Decision::kContinue;
  }
  return virtual_types.contains(type) ? Decision::kContinue : Decision::kMount;
}

std::set<std::string> parse_virtual_types(const std::string& text) {
  std::set<std::string> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("nodev\t")) types.insert(line.substr(6));
  }
  return types;
}

std::set<std::string> parse_device_types(const std::string& text) {
  std::set<std::string> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("\t")) types.insert(line.substr(1));
  }
  return types;
}

std::string rewrite_proc_self(const std::string& path, int pid, int tid) {
  const auto rest_after = [&](const std::string& prefix) {
    return path == prefix || path.starts_with(prefix + "/") ? path.substr(prefix.size()) : std::string("?");
  };
  if (const std::string rest = rest_after("/proc/self"); rest != "?")
    return fmt::format("/proc/{}{}", pid, rest);
  // A link to /proc/self/fd, as in every /dev.
  if (const std::string rest = rest_after("/dev/fd"); rest != "?")
    return fmt::format("/proc/{}/fd{}", pid, rest);
  if (const std::string rest = rest_after("/proc/thread-self"); rest != "?") {
    return fmt::format("/proc/{}/task/{}{}", pid, tid, rest);
  }
  return path;
}

}  // namespace loopfs::supervisor
