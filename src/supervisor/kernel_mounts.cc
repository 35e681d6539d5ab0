#include "supervisor/kernel_mounts.h"

#include <sstream>

namespace loopfs::supervisor {

std::string without_shown(const std::string& data) {
  std::string options;
  std::istringstream words(data);
  for (std::string word; std::getline(words, word, ',');) {
    if (word != "idmapped") options += (options.empty() ? "" : ",") + word;
  }
  return options;
}

Result<std::optional<Fd>> KernelMounts::mount(const Wanted& wanted) const {
  if (!maker_.mount) return std::optional<Fd>();
  return maker_.mount(wanted);
}

Result<void> KernelMounts::remount(const Wanted& wanted) const {
  Wanted cleaned = wanted;
  cleaned.data = without_shown(wanted.data);
  return maker_.remount(cleaned);
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
