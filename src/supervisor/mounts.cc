#include "supervisor/mounts.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "supervisor/served_mounts.h"
#include "sys/pidfd.h"

namespace loopfs::supervisor {
namespace {

// Without a channel it is ending already.
bool unmounted(const Fd& channel) {
  return !channel.valid() || disconnected(channel);
}

bool ended(const Fd& pidfd) {
  pollfd state{pidfd.get(), POLLIN, 0};
  return ::poll(&state, 1, 0) == 1;
}

Mounts::Known known(const Mount& mount) {
  return {.device = mount.device,
          .read_only = mount.read_only,
          .superblock_read_only = mount.superblock_read_only,
          .instance = mount.instance,
          .inode = mount.inode,
          .source = mount.source,
          .type = mount.type,
          .data = mount.data,
          .node = mount.node,
          .hold = mount.hold};
}

}  // namespace

Mounts::Mounts(Options options)
    : options_(std::move(options)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { watch(); }) {}

Mounts::~Mounts() {
  stop();
}

void Mounts::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

void Mounts::add(Mount mount) {
  {
    const std::lock_guard lock(mutex_);
    mounts_.push_back(std::make_shared<Mount>(std::move(mount)));
  }
  ::eventfd_write(wake_.get(), 1);
}

bool Mounts::empty() const {
  const std::lock_guard lock(mutex_);
  return mounts_.empty();
}

std::optional<Mounts::Known> Mounts::find(dev_t device) const {
  const std::lock_guard lock(mutex_);
  for (const auto& mount : mounts_) {
    if (mount->device == device) return known(*mount);
  }
  return std::nullopt;
}

std::optional<Mounts::Known> Mounts::find(dev_t instance, ino_t inode) const {
  const std::lock_guard lock(mutex_);
  for (const auto& mount : mounts_) {
    if (mount->instance == instance && mount->inode == inode) return known(*mount);
  }
  return std::nullopt;
}

void Mounts::set_superblock_read_only(dev_t device, bool read_only) {
  const std::lock_guard lock(mutex_);
  for (const auto& mount : mounts_) {
    if (mount->device == device) mount->superblock_read_only = read_only;
  }
}

bool Mounts::wait_for_end(dev_t device, After after) {
  std::unique_lock lock(mutex_);
  const auto of_device = [&] {
    return std::find_if(mounts_.begin(), mounts_.end(),
                        [&](const auto& mount) { return mount->device == device; });
  };
  const auto found = of_device();
  if (found == mounts_.end()) return true;
  const std::shared_ptr<Mount> mount = *found;  // its number may be another file system's, once it has ended
  if (!unmounted(mount->channel) && !ended(mount->pidfd)) return false;
  const auto gone = [&] {
    return stopping_ || std::find(mounts_.begin(), mounts_.end(), mount) == mounts_.end();
  };
  if (after != After::kWait && !changed_.wait_for(lock, std::chrono::seconds(kPatience), gone)) {
    if (after == After::kLeave) return true;
    (void)sys::send_signal(mount->pidfd.get(), SIGKILL);
  }
  changed_.wait(lock, gone);
  return !stopping_;
}

void Mounts::wait_for_change() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(20));
}

void Mounts::watch() {
  for (;;) {
    std::vector<pollfd> waits{{wake_.get(), POLLIN, 0}};
    std::vector<std::shared_ptr<Mount>> watched;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      watched = mounts_;
    }
    for (const auto& mount : watched) waits.push_back({mount->pidfd.get(), POLLIN, 0});
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    eventfd_t count;
    (void)::eventfd_read(wake_.get(), &count);
    for (size_t i = 0; i < watched.size(); ++i) {
      if (waits[i + 1].revents != 0) end(watched[i]);
    }
  }
}

void Mounts::end(const std::shared_ptr<Mount>& mount) {
  bool in_use = false;
  {
    const std::lock_guard lock(mutex_);
    in_use = !unmounted(mount->channel);
    mount->channel.reset();  // aborts the connection, if there still is one
  }
  if (mount->node) options_.invalidate(*mount->node);
  mount->hold.reset();
  if (in_use) {
    options_.report(fmt::format("{} for {} ended while the file system was mounted: it is lost, unmount it",
                                mount->program, mount->source));
  }
  {
    const std::lock_guard lock(mutex_);
    std::erase(mounts_, mount);
  }
  changed_.notify_all();
}

}  // namespace loopfs::supervisor
