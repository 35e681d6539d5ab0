#include "client/daemon_engine.h"

#include <fcntl.h>

#include <algorithm>

#include "sys/loop_device.h"
#include "sys/namespace.h"

namespace loopfs::client {
namespace {

using engine::NodeId;

class NodeHold final : public engine::MountHold {
 public:
  NodeHold(NodeId id, Fd device, uint64_t size, const engine::DeviceState& state)
      : id_(id), device_(std::move(device)), size_(size), state_(state) {}
  NodeId id() const override { return id_; }
  int backing_fd() const override { return device_.get(); }
  uint64_t offset() const override { return 0; }
  uint64_t size() const override { return size_; }
  uint64_t backing_size() const override { return size_; }
  bool read_only() const override { return state_.read_only; }
  uint32_t logical_block_size() const override { return state_.logical_block_size; }

 private:
  const NodeId id_;
  const Fd device_;
  const uint64_t size_;
  const engine::DeviceState state_;
};

}  // namespace

std::vector<NodeId> DaemonEngine::nodes() {
  std::vector<NodeId> nodes{NodeId::control()};
  for (const auto& device : snapshot()) {
    nodes.push_back(NodeId::of_device(device.number));
    for (const auto& partition : device.partitions) {
      nodes.push_back(NodeId::of_partition(device.number, partition.number));
    }
  }
  return nodes;
}

std::optional<NodeId> DaemonEngine::node_of_device(dev_t wanted) {
  for (const auto& device : snapshot()) {
    if (device.device == wanted) return NodeId::of_device(device.number);
    for (const auto& partition : device.partitions) {
      if (partition.device == wanted) return NodeId::of_partition(device.number, partition.number);
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> DaemonEngine::start_of(NodeId id) {
  const auto device = id.kind == NodeId::Kind::kPartition ? state(id.device) : std::nullopt;
  if (!device) return std::nullopt;
  const auto found = std::ranges::find(device->partitions, id.partition, &engine::PartitionState::number);
  return found != device->partitions.end() ? std::optional(found->start) : std::nullopt;
}

std::vector<engine::DeviceState> DaemonEngine::snapshot() {
  return options_.client->devices(options_.instance).value_or(std::vector<engine::DeviceState>());
}

Result<std::unique_ptr<engine::MountHold>> DaemonEngine::hold_for_mount(NodeId id, bool write) {
  const auto device_state = state(id.device);
  if (!device_state) return fail(ENXIO, "mount {}", id.name());
  if (!device_state->bound) return fail(EIO, "mount {}: not bound", id.name());
  if (write && device_state->read_only) return fail(EACCES, "mount {}: read-only", id.name());
  // Not O_EXCL: that is for the program to take, and other mounts of the device are refused in any case.
  auto device = sys::open_on_mount(options_.nodes.get(), id.name(), write ? O_RDWR : O_RDONLY);
  if (!device) return propagate(device);
  const auto size = sys::size_of_block_device(device->get());
  if (!size) return fail(EIO, "mount {}: not bound", id.name());
  return std::make_unique<NodeHold>(id, std::move(*device), *size, *device_state);
}

// What concerns the nodes themselves is between their users and the daemon.
std::optional<engine::NodeAttributes> DaemonEngine::attributes(NodeId) {
  return std::nullopt;
}
Result<void> DaemonEngine::change_attributes(NodeId id, const engine::AttributeChange&) {
  return fail(EOPNOTSUPP, "change {}", id.name());
}
Result<void> DaemonEngine::unlink(NodeId id) {
  return fail(EOPNOTSUPP, "unlink {}", id.name());
}
Result<std::unique_ptr<engine::OpenNode>> DaemonEngine::open(NodeId id, const engine::OpenOptions&) {
  return fail(EOPNOTSUPP, "open {}", id.name());
}

}  // namespace loopfs::client
