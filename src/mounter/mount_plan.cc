#include "mounter/mount_plan.h"

#include <sys/mount.h>

#include <algorithm>
#include <sstream>

namespace loopfs::mounter {
namespace {

#ifndef MS_NOSYMFOLLOW
constexpr unsigned long MS_NOSYMFOLLOW = 256;
#endif

// Whether the list has the option: "name" or "name=value" as it is, or "name=" for one with any value.
bool lists(const std::vector<std::string>& known, const std::string& option) {
  const size_t sign = option.find('=');
  const std::string any_value = sign == std::string::npos ? option : option.substr(0, sign + 1);
  return std::any_of(known.begin(), known.end(),
                     [&](const std::string& one) { return one == option || one == any_value; });
}

}  // namespace

uint64_t attributes_of_flags(unsigned long flags) {
  static constexpr std::pair<unsigned long, uint64_t> kBits[] = {
      {MS_RDONLY, MOUNT_ATTR_RDONLY},         {MS_NOSUID, MOUNT_ATTR_NOSUID},
      {MS_NODEV, MOUNT_ATTR_NODEV},           {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
      {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME}, {MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW},
  };
  uint64_t attributes = 0;
  for (const auto& [flag, attribute] : kBits) {
    if ((flags & flag) != 0) attributes |= attribute;
  }
  // The access time attributes are values of one field, and mount(2) has its own order of precedence.
  if ((flags & MS_STRICTATIME) != 0) return attributes | MOUNT_ATTR_STRICTATIME;
  if ((flags & MS_NOATIME) != 0) return attributes | MOUNT_ATTR_NOATIME;
  return attributes | MOUNT_ATTR_RELATIME;
}

Result<MountPlan> plan_mount(unsigned long flags, const std::string& data, const Program& program) {
  MountPlan plan;
  // As the kernel's squashfs does: a file system that cannot be written is mounted read-only, asked or not.
  plan.read_only = (flags & MS_RDONLY) != 0 || program.read_only;
  plan.synchronous = (flags & MS_SYNCHRONOUS) != 0;
  plan.attributes = attributes_of_flags(plan.read_only ? flags | MS_RDONLY : flags);
  plan.options = program.options;
  const auto& mode = plan.read_only ? program.read_only_options : program.read_write_options;
  plan.options.insert(plan.options.end(), mode.begin(), mode.end());
  std::istringstream words(data);
  for (std::string option; std::getline(words, option, ',');) {
    if (option.empty() || lists(program.ignored, option)) continue;
    if (lists(program.unsupported, option)) {
      plan.unsupported.push_back(option);
      continue;
    }
    // libfuse would take the comma behind it for a part of the value, and with it whatever option we add.
    if (option.find('\\') != std::string::npos) return fail(EINVAL, "mount option '{}'", option);
    if (!lists(program.passed, option)) return fail(EINVAL, "mount option '{}'", option);
    plan.options.push_back(option);
  }
  return plan;
}

bool type_accepts(const std::string& asked, const std::string& found) {
  if (asked == found) return true;
  if (asked == "ext4") return found == "ext2" || found == "ext3";  // one driver
  if (asked == "msdos") return found == "vfat";
  return asked.starts_with("ntfs") && found == "ntfs";
}

}  // namespace loopfs::mounter
