#include "kernel/device_pool.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace loopfs::kernel {
namespace {

constexpr int kTries = 64;
constexpr std::chrono::milliseconds kPause{100};
constexpr size_t kMostAtTheEnd = 64;
constexpr size_t kRemovers = 32;  // at once: a removal mostly waits, for the kernel's RCU

}  // namespace

Result<std::unique_ptr<DevicePool>> DevicePool::create(const Options& options) {
  if (options.count == 0 || options.first >= kEndOfPools || options.count > kEndOfPools - options.first) {
    return fail(EINVAL, "loop devices {} to {}", options.first, uint64_t{options.first} + options.count);
  }
  auto control = sys::open_loop_control();
  if (!control) return propagate(control);
  return std::unique_ptr<DevicePool>(new DevicePool(options, std::move(*control)));
}

DevicePool::DevicePool(const Options& options, Fd control) : options_(options), control_(std::move(control)) {
  // What an earlier process has left unbound; what is bound is its matter (adopt).
  for (const uint32_t number : sys::loop_devices_from(options_.first)) {
    if (owns(number) && !sys::loop_facts(number)) spares_.push_back(number);
  }
  remover_ = std::thread([this] { remove_in_background(); });
}

DevicePool::~DevicePool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    doomed_ = std::move(decoys_);
    for (const uint32_t number : sys::loop_devices_from(options_.first)) {
      if (owns(number) && !sys::loop_facts(number)) doomed_.push_back(number);
    }
    // Removing them all may take minutes; the next pool has the rest.
    if (doomed_.size() > kMostAtTheEnd) doomed_.resize(kMostAtTheEnd);
    changed_.notify_all();
  }
  remover_.join();
}

Result<void> DevicePool::keep_decoy() {
  auto lowest = sys::free_loop_device(control_.get());
  if (!lowest) return propagate(lowest);
  if (*lowest < options_.first) return {};
  // All devices below are bound, and a spare of ours would be next.
  for (uint32_t number = 0; number < options_.first; ++number) {
    auto added = sys::add_loop_device(control_.get(), number);
    if (added) {
      decoys_.push_back(number);
      return {};
    }
    if (added.error().code != EEXIST) return added;
  }
  return fail(ENOSPC, "make a loop device below {}", options_.first);
}

Result<uint32_t> DevicePool::next_number() {
  for (uint32_t tries = 0; tries < options_.count; ++tries) {
    const uint32_t number = options_.first + next_;
    next_ = (next_ + 1) % options_.count;
    auto added = sys::add_loop_device(control_.get(), number);
    if (added) return number;
    if (added.error().code != EEXIST) return propagate(added);
  }
  return fail(ENOSPC, "all loop devices from {} to {} are in use", options_.first,
              options_.first + options_.count - 1);
}

Result<DevicePool::Claim> DevicePool::take(int flags) {
  for (int tries = 0; tries < kTries; ++tries) {
    uint32_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      if (auto kept = keep_decoy(); !kept) return propagate(kept);
      if (!spares_.empty()) {
        number = spares_.back();
        spares_.pop_back();
      } else {
        auto next = next_number();
        if (!next) return propagate(next);
        number = *next;
      }
    }
    auto device = sys::open_loop_device(number, 0, flags | O_EXCL);
    // Someone on the host may have bound or removed it: then it is not ours any more.
    if (device) return Claim{number, std::move(*device)};
    const int code = device.error().code;
    if (code == EBUSY && !sys::loop_facts(number)) doom(number);
    if (code != EBUSY && code != ENOENT && code != ENXIO) return propagate(device);
  }
  return fail(EBUSY, "take a loop device: others take them all");
}

void DevicePool::doom(uint32_t number) {
  const std::lock_guard lock(mutex_);
  doomed_.push_back(number);
  changed_.notify_all();
}

void DevicePool::give_back(uint32_t number) {
  const std::lock_guard lock(mutex_);
  if (spares_.size() < options_.spares) {
    spares_.push_back(number);
  } else {
    doomed_.push_back(number);
    changed_.notify_all();
  }
}

void DevicePool::adopt(uint32_t number) {
  const std::lock_guard lock(mutex_);
  std::erase(spares_, number);
}

void DevicePool::remove_spares() {
  const std::lock_guard lock(mutex_);
  doomed_.insert(doomed_.end(), spares_.begin(), spares_.end());
  spares_.clear();
  doomed_.insert(doomed_.end(), decoys_.begin(), decoys_.end());
  decoys_.clear();
  changed_.notify_all();
}

void DevicePool::remove_in_background() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto work = [this] { return stopping_ || !doomed_.empty(); };
    if (opened_.empty()) {
      changed_.wait(lock, work);
    } else if (!changed_.wait_for(lock, kPause, work)) {
      doomed_ = std::exchange(opened_, {});
    }
    if (doomed_.empty()) return;
    const size_t helpers = std::min(doomed_.size(), kRemovers) - 1;
    lock.unlock();
    std::vector<std::jthread> threads;
    try {
      while (threads.size() < helpers) threads.emplace_back([this] { remove_doomed(); });
    } catch (const std::system_error&) {  // no more threads to be had
    }
    remove_doomed();
    threads.clear();
    lock.lock();
  }
}

void DevicePool::remove_doomed() {
  std::unique_lock lock(mutex_);
  while (!doomed_.empty()) {
    const uint32_t number = doomed_.back();
    doomed_.pop_back();
    lock.unlock();
    const auto removed = sys::remove_loop_device(control_.get(), number);
    // Somebody on the host uses it now, and it is theirs; or it is only open for a moment, perhaps by us.
    const bool opened = !removed && removed.error().code == EBUSY && !sys::loop_facts(number);
    lock.lock();
    if (opened) opened_.push_back(number);
  }
}

}  // namespace loopfs::kernel
