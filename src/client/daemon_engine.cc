#include "client/daemon_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "sys/loop_device.h"

namespace loopfs::client {
namespace {

using engine::NodeId;

constexpr int kPause = 200;  // ms, before the daemon is asked again

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

DaemonEngine::DaemonEngine(Options options, Fd stop) : options_(std::move(options)), stop_(std::move(stop)) {}

Result<std::unique_ptr<DaemonEngine>> DaemonEngine::create(Options options) {
  Fd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return errno_fail("eventfd");
  return std::unique_ptr<DaemonEngine>(new DaemonEngine(std::move(options), std::move(stop)));
}

DaemonEngine::~DaemonEngine() {
  ::eventfd_write(stop_.get(), 1);
  if (follower_.joinable()) follower_.join();
}

void DaemonEngine::start() {
  refresh();
  follower_ = std::thread([this] {
    pollfd wait{stop_.get(), POLLIN, 0};
    do {
      (void)options_.client->follow(options_.instance, stop_.get(), [this] {
        refresh();
        return true;
      });
    } while (::poll(&wait, 1, kPause) == 0);  // the daemon was replaced, or is being started
  });
}

void DaemonEngine::refresh() {
  const std::lock_guard lock(mutex_);
  auto devices = options_.client->devices(options_.instance);
  if (!devices) return;
  std::set<NodeId> now{NodeId::control()};
  for (const auto& device : *devices) {
    now.insert(NodeId::of_device(device.number));
    for (const auto& partition : device.partitions) {
      now.insert(NodeId::of_partition(device.number, partition.number));
    }
  }
  for (const NodeId& node : known_) {
    if (now.contains(node)) continue;
    for (engine::Observer* observer : observers_) observer->node_removed(node);
  }
  for (const NodeId& node : now) {
    if (known_.contains(node)) continue;
    for (engine::Observer* observer : observers_) observer->node_added(node);
  }
  known_ = std::move(now);
}

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

std::vector<engine::DeviceState> DaemonEngine::snapshot() {
  return options_.client->devices(options_.instance).value_or(std::vector<engine::DeviceState>());
}

Result<std::unique_ptr<engine::MountHold>> DaemonEngine::hold_for_mount(NodeId id, bool write) {
  const auto device_state = state(id.device);
  if (!device_state) return fail(ENXIO, "mount {}", id.name());
  if (!device_state->bound) return fail(EIO, "mount {}: not bound", id.name());
  if (write && device_state->read_only) return fail(EACCES, "mount {}: read-only", id.name());
  // Not O_EXCL: that is for the program to take, and other mounts of the device are refused in any case.
  Fd device(::openat(options_.nodes.get(), id.name().c_str(), (write ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!device.valid()) return errno_fail("open {}", id.name());
  const auto size = sys::size_of_block_device(device.get());
  if (!size) return fail(EIO, "mount {}: not bound", id.name());
  return std::make_unique<NodeHold>(id, std::move(device), *size, *device_state);
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
