#include "engine/user_engine.h"

#include <algorithm>
#include <ctime>

#include "engine/device_numbers.h"
#include "engine/handle.h"

namespace loopfs::engine {
namespace {

// Opens a device or partition in the model. A close that is under way is waited for, as close(2) on the
// kernel's device would have been.
Result<std::shared_ptr<Slot>> open_slot(Core& core, std::unique_lock<std::mutex>& lock, const NodeId& id,
                                        bool exclusive, bool write) {
  auto slot = core.find(id.device);
  if (!slot) return fail(ENXIO, "open {}", id.name());
  core.settle_if_ending(lock, *slot);
  auto opened = slot->device->open(id.partition, exclusive, write);
  if (!opened && (opened.error().code == EBUSY || slot->device->state() == instance::State::kRundown)) {
    core.settle(lock, *slot);
    opened = slot->device->open(id.partition, exclusive, write);
  }
  if (!opened) return propagate(opened);
  if (core.find(id.device) != slot) return fail(ENXIO, "open {}", id.name());
  return slot;
}

NodeAttributes make_attributes(const NodeId& id, const NodeOwner& owner, uint64_t size) {
  return {.id = id,
          .device = device_number(id),
          .size = size,
          .mode = owner.mode,
          .uid = owner.uid,
          .gid = owner.gid,
          .changed = owner.changed};
}

class UserMountHold final : public MountHold {
 public:
  // Takes over the open and the claim.
  UserMountHold(std::unique_ptr<DeviceHandle> handle, std::shared_ptr<Backing> backing)
      : handle_(std::move(handle)),
        backing_(std::move(backing)),
        base_(backing_->base()),
        view_(handle_->view()) {}

  NodeId id() const override { return handle_->id(); }
  int backing_fd() const override { return base_.fd; }
  uint64_t offset() const override { return base_.offset + view_.start; }
  uint64_t size() const override { return view_.size; }
  uint64_t backing_size() const override { return base_.offset + base_.size; }
  bool read_only() const override { return view_.read_only; }
  uint32_t logical_block_size() const override { return view_.block_size; }
  void refuse_writers() override {
    const std::lock_guard lock(handle_->core().mutex());
    handle_->slot()->device->refuse_writers(handle_->partition());
  }

 private:
  const std::unique_ptr<DeviceHandle> handle_;
  const std::shared_ptr<Backing> backing_;
  const Backing::Base base_;
  const IoView view_;
};

DeviceState describe(Slot& slot) {
  const instance::Device& device = *slot.device;
  DeviceState state{.number = device.number(),
                    .device = device_number(slot.id(0)),
                    .bound = device.bound(),
                    .read_only = device.read_only(0),
                    .autoclear = device.autoclear(),
                    .partscan = device.partscan(),
                    .direct_io = device.direct_io(),
                    .size = device.size(),
                    .offset = device.settings().offset,
                    .sizelimit = device.settings().sizelimit,
                    .logical_block_size = device.block_size(),
                    .physical_block_size = device.block_size(),
                    .io_minimum = device.block_size(),
                    .discard_granularity = slot.discard_granularity,
                    .rotational = slot.rotational,
                    .read_ahead = slot.read_ahead * instance::kSectorSize,
                    .disk_sequence = device.sequence(),
                    .statistics = slot.counters->statistics(),
                    .backing_file = device.bound() ? slot.backing_path : std::string()};
  for (const auto& [number, partition] : device.partitions()) {
    state.partitions.push_back({.number = number,
                                .device = device_number(slot.id(number)),
                                .start = partition.start,
                                .size = partition.size,
                                .uuid = partition.uuid,
                                .label = partition.label,
                                .read_only = device.read_only(number),
                                .statistics = slot.counters_of(number)->statistics()});
  }
  return state;
}

// Without the lock: a lookup in /proc.
void show_path(DeviceState& state, const Backing& backing) {
  if (std::string path = backing.path(); !path.empty()) state.backing_file = std::move(path);
}

}  // namespace

std::optional<NodeId> Engine::node_of_device(dev_t device) {
  return engine::node_of_device(device);
}

std::optional<DeviceState> Engine::state(uint32_t number) {
  for (auto& device : snapshot()) {
    if (device.number == number) return std::move(device);
  }
  return std::nullopt;
}

std::unique_ptr<UserEngine> UserEngine::create(const Options& options) {
  auto core = std::make_shared<Core>(options);
  Transaction change(*core);
  for (uint32_t i = 0; i < options.initial_devices; ++i) {
    const auto added = core->table().add(-1);
    if (!added) break;
    change.added(*added);
  }
  return std::unique_ptr<UserEngine>(new UserEngine(core));
}

UserEngine::~UserEngine() {
  end();
}

void UserEngine::end() {
  core_->end();
}

void UserEngine::add_observer(Observer* observer) {
  core_->add_observer(observer);
}

std::vector<NodeId> UserEngine::nodes() {
  std::unique_lock lock(core_->mutex());
  core_->settle_all(lock);
  std::vector<NodeId> nodes{NodeId::control()};
  for (const auto& [number, slot] : core_->slots()) {
    nodes.push_back(slot->id(0));
    for (const auto& [partition, unused] : slot->device->partitions()) nodes.push_back(slot->id(partition));
  }
  return nodes;
}

std::optional<NodeAttributes> UserEngine::attributes(NodeId id) {
  std::unique_lock lock(core_->mutex());
  if (id.kind == NodeId::Kind::kControl) return make_attributes(id, core_->control_owner(), 0);
  auto slot = core_->find(id.device);
  if (!slot) return std::nullopt;
  core_->settle_if_ending(lock, *slot);
  if (core_->find(id.device) != slot || !slot->device->has(id.partition)) return std::nullopt;
  return make_attributes(id, slot->owners[id.partition], slot->device->size(id.partition));
}

Result<void> UserEngine::change_attributes(NodeId id, const AttributeChange& change) {
  const std::lock_guard lock(core_->mutex());
  NodeOwner* owner = &core_->control_owner();
  if (id.kind != NodeId::Kind::kControl) {
    const auto slot = core_->find(id.device);
    if (!slot || !slot->device->has(id.partition)) return fail(ENOENT, "{}", id.name());
    owner = &slot->owners[id.partition];
  }
  if (change.mode) owner->mode = *change.mode & 07777;
  if (change.uid) owner->uid = *change.uid;
  if (change.gid) owner->gid = *change.gid;
  ::clock_gettime(CLOCK_REALTIME, &owner->changed);
  return {};
}

Result<void> UserEngine::unlink(NodeId id) {
  if (id.kind != NodeId::Kind::kDevice) return fail(EPERM, "unlink {}", id.name());
  return remove_device(*core_, id.device);
}

Result<std::unique_ptr<OpenNode>> UserEngine::open(NodeId id, const OpenOptions& options) {
  if (id.kind == NodeId::Kind::kControl) return std::make_unique<ControlHandle>(core_);
  std::unique_lock lock(core_->mutex());
  auto slot = open_slot(*core_, lock, id, options.exclusive, options.write);
  if (!slot) return propagate(slot);
  return std::make_unique<DeviceHandle>(core_, *slot, id.partition, options);
}

std::vector<DeviceState> UserEngine::snapshot() {
  std::vector<DeviceState> states;
  std::vector<std::shared_ptr<Backing>> backings;
  {
    std::unique_lock lock(core_->mutex());
    core_->settle_all(lock);
    for (const auto& [number, slot] : core_->slots()) {
      states.push_back(describe(*slot));
      backings.push_back(states.back().bound ? slot->backing : nullptr);
    }
  }
  for (size_t i = 0; i < states.size(); ++i) {
    if (backings[i]) show_path(states[i], *backings[i]);
  }
  return states;
}

std::optional<DeviceState> UserEngine::state(uint32_t number) {
  DeviceState state;
  std::shared_ptr<Backing> backing;
  {
    std::unique_lock lock(core_->mutex());
    auto slot = core_->find(number);
    if (!slot) return std::nullopt;
    core_->settle_if_ending(lock, *slot);
    if (core_->find(number) != slot) return std::nullopt;
    state = describe(*slot);
    if (state.bound) backing = slot->backing;
  }
  if (backing) show_path(state, *backing);
  return state;
}

Result<std::unique_ptr<MountHold>> UserEngine::hold_for_mount(NodeId id, bool write) {
  if (id.kind == NodeId::Kind::kControl) return fail(ENOTBLK, "mount {}", id.name());
  std::unique_ptr<DeviceHandle> handle;
  std::shared_ptr<Backing> backing;
  bool read_only;
  {
    std::unique_lock lock(core_->mutex());
    auto slot = open_slot(*core_, lock, id, true, false);
    if (!slot) return propagate(slot);
    handle = std::make_unique<DeviceHandle>(core_, *slot, id.partition,
                                            OpenOptions{.read = true, .write = write, .exclusive = true});
    read_only = (*slot)->device->read_only(id.partition);
    if ((*slot)->device->bound()) backing = (*slot)->backing;
  }
  if (!backing) return fail(EIO, "mount {}: not bound", id.name());
  if (write && read_only) return fail(EACCES, "mount {}: read-only", id.name());
  auto hold = std::make_unique<UserMountHold>(std::move(handle), std::move(backing));
  if (hold->backing_fd() < 0) return fail(EIO, "mount {}: the device below is gone", id.name());
  return hold;
}

}  // namespace loopfs::engine
