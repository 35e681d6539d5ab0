#include "supervisor/served_mounts.h"

#include <fmt/format.h>
#include <poll.h>

#include <chrono>
#include <filesystem>

#include "base/number.h"
#include "sys/pidfd.h"

namespace loopfs::supervisor {
namespace {

namespace fs = std::filesystem;

// What is below /proc comes and goes: an error is the end of a list.
template <typename F>
void for_each_number(const std::string& directory, F&& call) {
  std::error_code error;
  for (auto entry = fs::directory_iterator(directory, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (const auto number = base::parse_number<int>(entry->path().filename().string())) call(*number);
  }
}

}  // namespace

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
  for_each_number("/proc", [&](int pid) {
    const auto its = sys::pid_namespace_of(pid);
    if (!its || *its != pids) return;
    for_each_number(fmt::format("/proc/{}/fd", pid), [&](int number) {
      const auto path = sys::path_of_fd(pid, number);
      if (!path || *path != "/dev/fuse") return;
      auto pidfd = sys::pidfd_of_process(pid);
      if (!pidfd) return;
      auto channel = sys::take_fd(pidfd->get(), number);
      if (channel && !disconnected(*channel)) programs.push_back({std::move(*pidfd), std::move(*channel)});
    });
  });
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
