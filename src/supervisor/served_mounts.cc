#include "supervisor/served_mounts.h"

#include <fmt/format.h>
#include <poll.h>

#include <chrono>

#include "sys/directory.h"
#include "sys/pidfd.h"

namespace loopfs::supervisor {

bool disconnected(const Fd& channel) {
  pollfd state{channel.get(), 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
}

void ServedMounts::add(dev_t device, sys::NamespaceId pids) {
  const std::lock_guard lock(mutex_);
  mounts_[device] = pids;
}

bool ServedMounts::contains(dev_t device) const {
  const std::lock_guard lock(mutex_);
  return mounts_.contains(device);
}

bool ServedMounts::empty() const {
  const std::lock_guard lock(mutex_);
  return mounts_.empty();
}

std::vector<ServedMounts::Program> ServedMounts::programs(dev_t device) const {
  sys::NamespaceId pids;
  {
    const std::lock_guard lock(mutex_);
    const auto found = mounts_.find(device);
    if (found == mounts_.end()) return {};
    pids = found->second;
  }
  std::vector<Program> programs;
  for (const uint32_t process : sys::numbers_in("/proc")) {
    const auto pid = static_cast<pid_t>(process);
    const auto its = sys::pid_namespace_of(pid);
    if (!its || *its != pids) continue;
    for (const uint32_t descriptor : sys::numbers_in(fmt::format("/proc/{}/fd", pid))) {
      const auto number = static_cast<int>(descriptor);
      const auto path = sys::path_of_fd(pid, number);
      if (!path || *path != "/dev/fuse") continue;
      auto pidfd = sys::pidfd_of_process(pid);
      if (!pidfd) continue;
      auto channel = sys::take_fd(pidfd->get(), number);
      if (channel && !disconnected(*channel)) programs.push_back({std::move(*pidfd), std::move(*channel)});
    }
  }
  return programs;
}

void ServedMounts::wait_for_end(std::vector<Program> programs) {
  std::erase_if(programs, [](const Program& program) { return !disconnected(program.channel); });
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(kPatience);
  for (auto& program : programs) {
    program.channel.reset();
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd end{program.pidfd.get(), POLLIN, 0};
    (void)::poll(&end, 1, left > 0 ? static_cast<int>(left) : 0);
  }
}

}  // namespace loopfs::supervisor
