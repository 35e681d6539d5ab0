#include "kernel/kernel_engine.h"

#include <fcntl.h>

#include <algorithm>

#include "engine/device_numbers.h"
#include "kernel/bind.h"
#include "kernel/node_handle.h"
#include "kernel/partition_worker.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {
namespace {

using engine::DeviceState;
using engine::NodeAttributes;

// What stat(2) shows of a device that is free: a number that no kernel device has, so that nobody takes it for
// the host's device of that number, in sysfs or elsewhere.
dev_t number_while_free(const NodeId& id) {
  if (id.kind == NodeId::Kind::kControl) return engine::device_number(id);
  return makedev(7, DevicePool::kEndOfNumbers + id.device);
}

// NodeAttributes::binding. The number of a partition is part of it: deleted and made again, a partition may have
// another, and its old one be that of a partition on somebody else's disk.
constexpr unsigned kMinorBits = 20;

uint64_t binding_id(uint64_t sequence, unsigned minor_number) {
  return sequence << kMinorBits | minor_number;
}

DeviceState describe(uint32_t number, const std::shared_ptr<Binding>& binding) {
  DeviceState state{.number = number, .device = number_while_free(NodeId::of_device(number))};
  const auto facts = binding && binding->bound() ? sys::loop_facts(binding->number()) : std::nullopt;
  if (!facts) return state;
  state.device = makedev(7, binding->number());
  state.bound = true;
  state.read_only = facts->read_only;
  state.autoclear = facts->autoclear;
  state.partscan = facts->partscan;
  state.direct_io = facts->direct_io;
  state.size = facts->size;
  state.offset = facts->offset;
  state.sizelimit = facts->sizelimit;
  state.logical_block_size = facts->logical_block_size;
  state.physical_block_size = facts->physical_block_size;
  state.io_minimum = facts->io_minimum;
  state.io_optimal = facts->io_optimal;
  state.discard_granularity = static_cast<uint32_t>(facts->discard_granularity);
  state.rotational = facts->rotational;
  state.read_ahead = facts->read_ahead;
  state.disk_sequence = facts->disk_sequence;
  state.backing_file = binding->backing_path();
  for (const auto& [partition, part] : sys::loop_partitions(binding->number())) {
    state.partitions.push_back({.number = partition,
                                .device = part.device,
                                .start = part.start,
                                .size = part.size,
                                .uuid = part.uuid,
                                .label = part.label,
                                .read_only = part.read_only});
  }
  return state;
}

}  // namespace

KernelEngine::KernelEngine(Options options) : options_(std::move(options)), control_owner_(new_owner()) {}

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

DeviceRecord KernelEngine::record_of(const Slot& slot) const {
  DeviceRecord record{.number = slot.number, .owners = slot.owners};
  if (slot.binding) {
    record.binding = BindingRecord{.kernel_device = slot.binding->number(),
                                   .sequence = slot.binding->sequence(),
                                   .backing_path = slot.binding->backing_path(),
                                   .token = slot.binding->token()};
  }
  return record;
}

Result<DeviceRecord> KernelEngine::record_with(uint32_t number,
                                               const std::optional<BindingRecord>& binding) const {
  const auto found = slots_.find(number);
  if (found == slots_.end()) return fail(ENXIO, "loop{}", number);
  DeviceRecord record = record_of(found->second);
  record.binding = binding;
  return record;
}

Result<uint64_t> KernelEngine::announce(uint32_t number, const BindingRecord& binding) {
  if (!options_.journal) return 0;
  const std::lock_guard lock(mutex_);
  const auto record = record_with(number, binding);
  if (!record) return propagate(record);
  return options_.journal->put_ahead(*record);
}

Result<void> KernelEngine::announced(uint64_t ticket) {
  if (!options_.journal) return {};
  return options_.journal->answer(ticket);
}

Result<void> KernelEngine::record(uint32_t number, const std::optional<BindingRecord>& binding) {
  if (!options_.journal) return {};
  const std::lock_guard lock(mutex_);
  const auto record = record_with(number, binding);
  if (!record) return propagate(record);
  options_.journal->put_soon(*record);
  return {};
}

Result<uint32_t> KernelEngine::make(std::optional<uint32_t> number) {
  if (ended_) return fail(ENXIO, "the instance has ended");
  const uint32_t most = options_.max.value_or(instance::kMostDevices);
  if (slots_.size() >= most) return fail(ENOSPC, "the instance has {} devices", most);
  uint32_t chosen = number.value_or(0);
  if (!number) {
    while (slots_.contains(chosen) || options_.taken.contains(chosen)) ++chosen;
  }
  if (chosen >= instance::kMostDevices) return fail(ENOSPC, "loop{}", chosen);
  Slot slot{.number = chosen};
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
  if (wanted && (slots_.contains(*wanted) || options_.taken.contains(*wanted))) return fail(EEXIST, "loop{}", number);
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
  for (const auto& [number, binding] : bindings()) states.push_back(describe(number, binding));
  return states;
}

Result<void> KernelEngine::reread_partitions(uint32_t number, int device) {
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  if (!bound->has_open(device)) return fail(EINVAL, "loop{}: another device", number);
  if (auto read = sys::reread_partitions(device); !read) return read;
  return find_partitions(*bound);
}

Result<void> KernelEngine::reread_partitions(uint32_t number, pid_t pid, int number_of_theirs, int hangup) {
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  const auto sequence = bound->current_sequence();
  if (!sequence) return propagate(sequence);
  auto file = porter::ForeignFile::take_any(options_.strangers, pid, number_of_theirs);
  if (!file) return propagate(file);
  if (auto read = file->reread_partitions(*sequence, hangup); !read) return read;
  return find_partitions(*bound);
}

Result<void> KernelEngine::find_partitions(const Binding& bound) const {
  if (options_.partition_worker.empty()) return {};
  return add_partitions(bound, options_.partition_worker);
}

Result<void> KernelEngine::edit_partition(uint32_t number, const sys::PartitionEdit& edit) {
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  auto device = bound->open(0, O_RDONLY);
  if (!device) return propagate(device);
  return sys::edit_partition(device->get(), edit);
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

void KernelEngine::restore(const std::vector<DeviceRecord>& records,
                           const std::optional<engine::NodeOwner>& control,
                           std::chrono::steady_clock::time_point deadline) {
  const std::lock_guard lock(mutex_);
  if (control) control_owner_ = *control;
  for (const DeviceRecord& record : records) {
    Slot slot{.number = record.number, .owners = record.owners};
    if (options_.charge) slot.charge = options_.charge().value_or(nullptr);
    if (record.binding) {
      // One that is unbound by now the pool has found, too.
      slot.binding = restore_binding(*record.binding, deadline);
      if (slot.binding) options_.pool->adopt(slot.binding->number());
      if (!slot.binding) std::erase_if(slot.owners, [](const auto& owner) { return owner.first != 0; });
      // Not to be found again when the kernel device is somebody else's.
      const bool other = !slot.binding || !record.binding->token;
      if (other && options_.journal) (void)options_.journal->put(record_of(slot));
    }
    slots_[record.number] = std::move(slot);
  }
}

}  // namespace loopfs::kernel
