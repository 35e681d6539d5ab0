#include "kernel/kernel_engine.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "kernel/bind.h"
#include "kernel/device_state.h"
#include "kernel/node_handle.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {
namespace {

using engine::DeviceState;
using engine::NodeAttributes;

// NodeAttributes::binding. The number of a partition is part of it: deleted and made again, a partition may have
// another, and its old one be that of a partition on somebody else's disk.
constexpr unsigned kMinorBits = 20;

uint64_t binding_id(uint64_t sequence, unsigned minor_number) {
  return sequence << kMinorBits | minor_number;
}

// Of free devices: above those of the kernel, which counts from 1.
constexpr uint64_t kFirstOwnSequence = uint64_t{1} << 48;

}  // namespace

KernelEngine::KernelEngine(Options options) : options_(std::move(options)), control_owner_(new_owner()) {}

uint64_t KernelEngine::next_sequence() {
  return kFirstOwnSequence + ++sequences_;
}

engine::NodeOwner KernelEngine::new_owner() const {
  engine::NodeOwner owner{options_.mode, options_.uid, options_.gid, {}};
  ::clock_gettime(CLOCK_REALTIME, &owner.changed);
  return owner;
}

void KernelEngine::tell(const char* event, uint32_t number, uint32_t kernel_device) const {
  if (options_.tell) options_.tell(event, number, kernel_device);
}

Slot* KernelEngine::find(uint32_t number) {
  const auto found = slots_.find(number);
  if (found == slots_.end()) return nullptr;
  refresh(found->second);
  return &found->second;
}

// The journal need not be told: whoever comes after us sees the same end.
void KernelEngine::refresh(Slot& slot) {
  if (!slot.binding) return;
  const auto autoclear = slot.binding->autoclear();
  slot.ending = autoclear == true;
  if (autoclear) return;
  options_.pool->give_back(slot.binding->number());
  tell("clear", slot.number, slot.binding->number());
  slot.binding.reset();
  slot.sequence_while_free = next_sequence();
  std::erase_if(slot.owners, [](const auto& owner) { return owner.first != 0; });
}

// A device whose last user has just left is free once that user's pass has ended, too.
Slot* KernelEngine::find_settled(std::unique_lock<std::mutex>& lock, uint32_t number) {
  Slot* slot = find(number);
  if (!slot || !slot->binding || !slot->ending) return slot;
  const auto binding = slot->binding;
  const auto deadline = slot->closing;
  closed_.wait_until(lock, deadline, [&] {
    const auto found = slots_.find(number);
    return found == slots_.end() || found->second.closing == std::chrono::steady_clock::time_point{};
  });
  lock.unlock();
  binding->settle();
  lock.lock();
  return find(number);
}

bool KernelEngine::is_used(uint32_t number) const {
  return slots_.contains(number) || options_.taken.contains(number);
}

Result<uint32_t> KernelEngine::make(std::optional<uint32_t> number) {
  if (ended_) return fail(ENXIO, "the instance has ended");
  const uint32_t most = options_.max.value_or(instance::kMostDevices);
  if (slots_.size() >= most) return fail(ENOSPC, "the instance has {} devices", most);
  uint32_t chosen = number.value_or(0);
  if (!number) {
    while (is_used(chosen)) ++chosen;
  }
  if (chosen >= instance::kMostDevices) return fail(ENOSPC, "loop{}", chosen);
  Slot slot{.number = chosen, .sequence_while_free = next_sequence()};
  if (options_.charge) {
    auto charge = options_.charge();
    if (!charge) return propagate(charge);
    slot.charge = std::move(*charge);
  }
  slot.owners[0] = new_owner();
  if (options_.journal) {
    if (auto recorded = options_.journal->put(record_of(slot)); !recorded)
      return fail(ENOSPC, "loop{}", chosen);
  }
  slots_[chosen] = std::move(slot);
  tell("add", chosen, 0);
  return chosen;
}

Result<int> KernelEngine::add(int64_t number) {
  const std::lock_guard lock(mutex_);
  std::optional<uint32_t> wanted;
  if (number >= 0) wanted = static_cast<uint32_t>(number);
  if (wanted && is_used(*wanted)) return fail(EEXIST, "loop{}", number);
  auto made = make(wanted);
  if (!made) return propagate(made);
  return static_cast<int>(*made);
}

Result<int> KernelEngine::get_free() {
  std::unique_lock lock(mutex_);
  std::vector<uint32_t> numbers;
  for (const auto& [number, slot] : slots_) numbers.push_back(number);
  for (const uint32_t number : numbers) {
    const Slot* slot = find_settled(lock, number);
    if (slot && !slot->binding && !slot->configuring) return static_cast<int>(number);
  }
  auto made = make(std::nullopt);
  if (!made) return propagate(made);
  return static_cast<int>(*made);
}

Result<int> KernelEngine::remove(int64_t number) {
  if (number < 0) return fail(EINVAL, "loop{}", number);
  std::unique_lock lock(mutex_);
  if (number >= instance::kMostDevices) return fail(ENODEV, "loop{}", number);
  const auto index = static_cast<uint32_t>(number);
  const Slot* slot = find_settled(lock, index);
  if (!slot) return fail(ENODEV, "loop{}", number);
  if (slot->binding || slot->configuring || slot->openers > 0) return fail(EBUSY, "loop{}: in use", number);
  slots_.erase(index);
  if (options_.journal) options_.journal->drop(index);
  tell("remove", index, 0);
  return 0;
}

void KernelEngine::closing(uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found != slots_.end()) found->second.closing = std::chrono::steady_clock::now() + engine::kReleaseTime;
}

void KernelEngine::closed(uint32_t number, bool exclusive) {
  const std::lock_guard lock(mutex_);
  Slot* slot = find(number);
  if (!slot) return;
  slot->closing = {};
  closed_.notify_all();
  if (slot->openers > 0) --slot->openers;
  if (exclusive) slot->claimed = false;
}

std::shared_ptr<Binding> KernelEngine::binding(uint32_t number) {
  const std::lock_guard lock(mutex_);
  const Slot* slot = find(number);
  return slot ? slot->binding : nullptr;
}

Result<void> KernelEngine::begin_binding(uint32_t number, bool exclusive) {
  std::unique_lock lock(mutex_);
  Slot* slot = find_settled(lock, number);
  if (!slot || ended_) return fail(ENXIO, "loop{}", number);
  if (slot->binding || slot->configuring || (slot->claimed && !exclusive)) {
    return fail(EBUSY, "loop{}: in use", number);
  }
  slot->configuring = true;
  return {};
}

void KernelEngine::end_binding(uint32_t number, std::shared_ptr<Binding> binding) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(number);
    if (found != slots_.end()) {
      found->second.configuring = false;
      if (binding) tell("bind", number, binding->number());
      found->second.binding = std::move(binding);
      return;
    }
  }
  // The instance has ended meanwhile (umount -f): as end() does.
  if (!binding) return;
  if (auto device = binding->open(0, O_RDONLY)) (void)sys::clear_loop_device(device->get());
  options_.pool->give_back(binding->number());
}

std::map<uint32_t, std::shared_ptr<Binding>> KernelEngine::bindings() {
  std::map<uint32_t, std::shared_ptr<Binding>> devices;
  const std::lock_guard lock(mutex_);
  for (auto& [number, slot] : slots_) {
    refresh(slot);
    devices[number] = slot.binding;
  }
  return devices;
}

std::vector<std::shared_ptr<Binding>> KernelEngine::bound_besides(uint32_t except) {
  std::vector<std::shared_ptr<Binding>> bound;
  for (auto& [number, binding] : bindings()) {
    if (binding && number != except) bound.push_back(binding);
  }
  return bound;
}

bool KernelEngine::claimed(uint32_t number) {
  const std::lock_guard lock(mutex_);
  const Slot* slot = find(number);
  return slot && slot->claimed;
}

Result<uint64_t> KernelEngine::sequence_while_free(uint32_t number) {
  const std::lock_guard lock(mutex_);
  const Slot* slot = find(number);
  if (!slot) return fail(ENXIO, "loop{}", number);
  return slot->sequence_while_free;
}

std::vector<NodeId> KernelEngine::nodes() {
  std::vector<NodeId> nodes{NodeId::control()};
  for (const auto& [number, binding] : bindings()) {
    nodes.push_back(NodeId::of_device(number));
    if (!binding) continue;
    for (const uint32_t partition : sys::loop_partition_numbers(binding->number())) {
      if (partition <= instance::kMostPartitions) nodes.push_back(NodeId::of_partition(number, partition));
    }
  }
  return nodes;
}

std::optional<NodeAttributes> KernelEngine::attributes(NodeId id) {
  std::unique_lock lock(mutex_);
  engine::NodeOwner owner = control_owner_;
  NodeAttributes node{.id = id, .device = number_while_free(id)};
  if (id.kind != NodeId::Kind::kControl) {
    Slot* slot = find_settled(lock, id.device);
    if (!slot || (id.partition != 0 && !slot->binding)) return std::nullopt;
    if (slot->binding) {
      node.device = makedev(7, slot->binding->number());
      if (id.partition != 0) {
        const auto device = sys::loop_partition_device(slot->binding->number(), id.partition);
        if (!device) return std::nullopt;
        node.device = *device;
        slot->owners.try_emplace(id.partition, new_owner());
      }
      node.binding = binding_id(slot->binding->sequence(), minor(node.device));
    }
    owner = slot->owners[id.partition];
  }
  node.mode = owner.mode;
  node.uid = owner.uid;
  node.gid = owner.gid;
  node.changed = owner.changed;
  return node;
}

Result<void> KernelEngine::change_attributes(NodeId id, const engine::AttributeChange& change) {
  const std::lock_guard lock(mutex_);
  engine::NodeOwner* owner = &control_owner_;
  Slot* slot = nullptr;
  if (id.kind != NodeId::Kind::kControl) {
    slot = find(id.device);
    if (!slot) return fail(ENOENT, "{}", id.name());
    owner = &slot->owners.try_emplace(id.partition, new_owner()).first->second;
  }
  if (change.mode) owner->mode = *change.mode & 07777;
  if (change.uid) owner->uid = *change.uid;
  if (change.gid) owner->gid = *change.gid;
  ::clock_gettime(CLOCK_REALTIME, &owner->changed);
  if (!options_.journal) return {};
  if (slot) return options_.journal->put(record_of(*slot));
  options_.journal->put_control(control_owner_);
  return {};
}

Result<void> KernelEngine::unlink(NodeId id) {
  if (id.kind != NodeId::Kind::kDevice) return fail(EPERM, "unlink {}", id.name());
  auto removed = remove(id.device);
  if (!removed) return propagate(removed);
  return {};
}

Result<std::unique_ptr<engine::OpenNode>> KernelEngine::open(NodeId id, const engine::OpenOptions& options) {
  if (id.kind == NodeId::Kind::kControl) return std::make_unique<ControlHandle>(shared_from_this());
  if (id.kind == NodeId::Kind::kPartition) return fail(ESTALE, "open {}", id.name());
  const std::lock_guard lock(mutex_);
  Slot* slot = find(id.device);
  if (!slot) return fail(ENXIO, "open {}", id.name());
  if (options.exclusive) {
    if (slot->claimed) return fail(EBUSY, "open {}: claimed", id.name());
    slot->claimed = true;
  }
  ++slot->openers;
  return std::make_unique<NodeHandle>(shared_from_this(), id.device, options);
}

Result<std::unique_ptr<engine::OpenNode>> KernelEngine::reopen(NodeId id, const engine::OpenOptions& options,
                                                               Fd native) {
  if (id.kind != NodeId::Kind::kDevice) return fail(EINVAL, "open {}", id.name());
  const std::lock_guard lock(mutex_);
  Slot* slot = find(id.device);
  if (!slot) return fail(ENXIO, "open {}", id.name());
  ++slot->openers;
  if (options.exclusive) slot->claimed = true;
  return std::make_unique<NodeHandle>(shared_from_this(), id.device, options, std::move(native));
}

Result<void> KernelEngine::admit(NodeId id, uint64_t binding, const Visitor& visitor) {
  std::shared_ptr<Binding> current;
  {
    const std::lock_guard lock(mutex_);
    const Slot* slot = find(id.device);
    if (slot) current = slot->binding;
  }
  const auto minor_number = static_cast<unsigned>(binding & ((1U << kMinorBits) - 1));
  if (!current || binding_id(current->sequence(), minor_number) != binding)
    return fail(ESTALE, "open {}", id.name());
  const bool escorted = visitor.in_open && options_.escorts;
  if (escorted && options_.escorts->is_under_way(visitor.tid, current.get(), id.partition, minor_number))
    return {};
  auto pass = current->pass(id.partition, minor_number);
  if (!pass) return propagate(pass);
  if (escorted && options_.escorts->begin(visitor.tid, *pass)) return {};
  options_.watch->add(visitor.tid, visitor.call, std::move(*pass));
  return {};
}

std::vector<DeviceState> KernelEngine::snapshot() {
  std::vector<DeviceState> states;
  const auto all = bindings();
  std::map<uint32_t, uint64_t> free;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, slot] : slots_) free[number] = slot.sequence_while_free;
  }
  const auto node_of = [&](const sys::LoopName& name) -> std::optional<NodeId> {
    for (const auto& [number, binding] : all) {
      if (!binding || binding->number() != name.number) continue;
      return name.partition == 0 ? NodeId::of_device(number) : NodeId::of_partition(number, name.partition);
    }
    return std::nullopt;
  };
  for (const auto& [number, binding] : all)
    states.push_back(describe(number, binding, free[number], node_of));
  return states;
}

void KernelEngine::sweep() {
  const std::lock_guard lock(mutex_);
  for (auto& [number, slot] : slots_) refresh(slot);
}

KernelEngine::Numbers KernelEngine::numbers() {
  const std::lock_guard lock(mutex_);
  const auto bound =
      std::ranges::count_if(slots_, [](const auto& slot) { return slot.second.binding != nullptr; });
  return {static_cast<unsigned>(slots_.size()), static_cast<unsigned>(bound)};
}

bool KernelEngine::has_kernel_device(uint32_t number) {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(slots_, [number](const auto& slot) {
    return slot.second.binding && slot.second.binding->number() == number;
  });
}

std::vector<KernelEngine::Remains> KernelEngine::end() {
  std::vector<Remains> remains;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (auto& [number, slot] : slots_) {
      refresh(slot);
      if (slot.binding) remains.push_back({slot.binding, std::move(slot.charge)});
      slot.binding.reset();
    }
    slots_.clear();
  }
  for (const auto& left : remains) {
    // Unbound at the last close, which may be the porter's.
    const auto sequence = left.binding->current_sequence();
    if (sequence) (void)porter::clear_device(*options_.strangers.porters, left.binding->number(), *sequence);
  }
  return remains;
}

}  // namespace loopfs::kernel
