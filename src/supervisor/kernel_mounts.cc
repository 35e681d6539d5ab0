#include "supervisor/kernel_mounts.h"

#include <sys/mount.h>

#include <sstream>

namespace loopfs::supervisor {

std::string options_of(uint64_t flags, const std::string& data) {
  struct Flag {
    uint64_t bit;
    const char *set, *clear;  // to clear what is not set does nothing
  };
  static constexpr Flag kFlags[] = {{MS_SYNCHRONOUS, "sync", "async"},
                                    {MS_LAZYTIME, "lazytime", "nolazytime"}};
  std::string options = (flags & MS_DIRSYNC) != 0 ? "dirsync" : "";
  for (const Flag& flag : kFlags) {
    options += options.empty() ? "" : ",";
    options += (flags & flag.bit) != 0 ? flag.set : flag.clear;
  }
  std::istringstream words(data);
  for (std::string word; std::getline(words, word, ',');) {
    if (!word.empty() && word != "idmapped") options += "," + word;
  }
  return options;
}

Result<std::optional<Fd>> KernelMounts::mount(const Wanted& wanted) const {
  if (!maker_.mount) return std::optional<Fd>();
  Wanted whole = wanted;
  whole.data = options_of(wanted.flags, wanted.data);
  return maker_.mount(whole);
}

Result<void> KernelMounts::remount(const Wanted& wanted) const {
  Wanted whole = wanted;
  whole.data = options_of(wanted.flags, wanted.data);
  return maker_.remount(whole);
}

void KernelMounts::add(dev_t device, Known known) {
  const std::lock_guard lock(mutex_);
  mounts_.insert_or_assign(device, std::move(known));
}

std::optional<KernelMounts::Known> KernelMounts::find(dev_t device) const {
  const std::lock_guard lock(mutex_);
  const auto found = mounts_.find(device);
  return found != mounts_.end() ? std::optional(found->second) : std::nullopt;
}

bool KernelMounts::empty() const {
  const std::lock_guard lock(mutex_);
  return mounts_.empty();
}

}  // namespace loopfs::supervisor
