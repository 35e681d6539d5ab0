#include "engine/core.h"

#include <algorithm>
#include <ctime>

namespace loopfs::engine {

Core::Core(const UserEngine::Options& options)
    : options_(options), table_(options.max, options.taken), control_owner_(new_owner()) {}

NodeOwner Core::new_owner() const {
  NodeOwner owner{options_.mode, options_.uid, options_.gid, {}};
  ::clock_gettime(CLOCK_REALTIME, &owner.changed);
  return owner;
}

std::shared_ptr<Slot> Core::find(uint32_t number) {
  const auto found = slots_.find(number);
  return found == slots_.end() ? nullptr : found->second;
}

void Core::add_observer(Observer* observer) {
  const std::lock_guard order(order_mutex_);
  observers_.push_back(observer);
}

void Core::end() {
  {
    const std::lock_guard order(order_mutex_);
    observers_.clear();
  }
  Transaction change(*this);
  for (const auto& [number, slot] : slots_) {
    if (slot->device->retire()) change.unbind(*slot);
  }
}

void Core::deliver() {
  const std::lock_guard order(order_mutex_);
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
  }
  for (const auto& event : events) {
    for (Observer* observer : observers_) {
      switch (event.kind) {
        case Event::Kind::kAdded:
          observer->node_added(event.id);
          break;
        case Event::Kind::kRemoved:
          observer->node_removed(event.id);
          break;
        case Event::Kind::kContents:
          observer->contents_changed(event.id);
          break;
      }
    }
  }
}

void Core::closing(Slot& slot, const void* handle) {
  slot.closing[handle] = std::chrono::steady_clock::now() + kReleaseTime;
}

void Core::closed(Slot& slot, const void* handle) {
  slot.closing.erase(handle);
  settled_.notify_all();
}

void Core::settle(std::unique_lock<std::mutex>& lock, Slot& slot) {
  for (;;) {
    std::erase_if(slot.closing,
                  [now = std::chrono::steady_clock::now()](const auto& c) { return c.second <= now; });
    if (slot.closing.empty()) return;
    const auto deadline = slot.closing.begin()->second;  // a copy: the entry may go while we wait
    settled_.wait_until(lock, deadline);
  }
}

void Core::settle_if_ending(std::unique_lock<std::mutex>& lock, Slot& slot) {
  const instance::Device& device = *slot.device;
  if (slot.closing.empty() || slot.closing.size() < device.openers()) return;
  if (device.autoclear() || device.state() == instance::State::kRundown ||
      (device.partscan() && slot.written)) {
    settle(lock, slot);
  }
}

void Core::settle_all(std::unique_lock<std::mutex>& lock) {
  std::vector<std::shared_ptr<Slot>> all;
  for (const auto& [number, slot] : slots_) {
    if (!slot->closing.empty()) all.push_back(slot);
  }
  for (const auto& slot : all) settle_if_ending(lock, *slot);
}

Result<void> Core::rescan(const std::shared_ptr<Slot>& slot) {
  std::shared_ptr<Backing> backing;
  uint64_t offset, size, sequence;
  uint32_t block_size;
  {
    const std::lock_guard lock(mutex_);
    const instance::Device& device = *slot->device;
    if (device.partition_open()) return fail(EBUSY, "loop{}: partition in use", device.number());
    slot->written = false;
    backing = slot->backing;
    offset = device.settings().offset;
    size = device.size();
    block_size = device.block_size();
    sequence = device.sequence();
  }
  std::map<uint32_t, instance::Partition> found;
  if (backing) {
    auto scanned = backing->scan(offset, size, block_size);
    if (!scanned) return propagate(scanned);
    found = std::move(*scanned);
  }
  Transaction change(*this);
  if (slot->device->sequence() != sequence || slot->backing != backing) return {};
  if (slot->device->partition_open()) return fail(EBUSY, "loop{}: partition in use", slot->device->number());
  change.change_partitions(*slot, [&] {
    slot->device->replace_partitions(found);
    return 0;
  });
  return {};
}

Transaction::~Transaction() {
  const bool told = !core_.events_.empty();
  lock_.unlock();
  dropped_.clear();
  if (told) core_.deliver();
}

void Transaction::added(uint32_t number) {
  auto slot = std::make_shared<Slot>();
  slot->device = core_.table_.devices().at(number);
  slot->owners[0] = core_.new_owner();
  core_.slots_[number] = slot;
  core_.events_.push_back({Core::Event::Kind::kAdded, NodeId::of_device(number)});
}

void Transaction::removed(uint32_t number) {
  const auto slot = core_.find(number);
  for (const auto& [partition, unused] : slot->device->partitions()) {
    core_.events_.push_back({Core::Event::Kind::kRemoved, slot->id(partition)});
  }
  core_.slots_.erase(number);
  core_.events_.push_back({Core::Event::Kind::kRemoved, NodeId::of_device(number)});
}

void Transaction::contents_changed(const Slot& slot) {
  core_.events_.push_back({Core::Event::Kind::kContents, slot.id(0)});
  for (const auto& [partition, unused] : slot.device->partitions()) {
    core_.events_.push_back({Core::Event::Kind::kContents, slot.id(partition)});
  }
}

void Transaction::partitions_changed(Slot& slot, const std::map<uint32_t, instance::Partition>& before) {
  const auto& after = slot.device->partitions();
  for (const auto& [number, partition] : before) {
    const auto still = after.find(number);
    if (still == after.end()) {
      slot.owners.erase(number);
      slot.partition_counters.erase(number);
      core_.events_.push_back({Core::Event::Kind::kRemoved, slot.id(number)});
    } else if (still->second.start != partition.start || still->second.size != partition.size) {
      core_.events_.push_back({Core::Event::Kind::kContents, slot.id(number)});
    }
  }
  for (const auto& [number, partition] : after) {
    if (before.contains(number)) continue;
    slot.owners[number] = core_.new_owner();
    core_.events_.push_back({Core::Event::Kind::kAdded, slot.id(number)});
  }
}

void Transaction::unbind(Slot& slot) {
  change_partitions(slot, [&] {
    slot.device->unbind(core_.table_.next_sequence());
    return 0;
  });
  drop(std::move(slot.backing));
  slot.backing.reset();
  slot.backing_path.clear();
  slot.written = false;
  contents_changed(slot);
}

}  // namespace loopfs::engine
