#include "fusefs/handle_table.h"

#include <chrono>
#include <thread>

namespace loopfs::fusefs {
namespace {

// From the lowest bit: 8 partition, 12 device, 2 kind, 4 options, 32 serial. The rest is zero.
// Each of a device may have a descriptor of a kernel device, and those are all users'; one of loop-control is memory.
constexpr size_t kMostOfDevices = 1024, kMostHandles = 1 << 16;
constexpr std::chrono::microseconds kFirstPause{10}, kLongestPause{500'000};
constexpr unsigned kDeviceAt = 8, kKindAt = 20, kOptionsAt = 22, kSerialAt = 26, kEnd = 58;

bool is_control(const engine::NodeId& node) {
  return node.kind == engine::NodeId::Kind::kControl;
}

}  // namespace

uint64_t encode_handle(const HandleNumber& handle, uint64_t serial) {
  const engine::OpenOptions& options = handle.options;
  const uint64_t bits = uint64_t{options.read} | uint64_t{options.write} << 1 |
                        uint64_t{options.exclusive} << 2 | uint64_t{options.direct} << 3;
  return uint64_t{handle.node.partition} | uint64_t{handle.node.device} << kDeviceAt |
         static_cast<uint64_t>(handle.node.kind) << kKindAt | bits << kOptionsAt |
         (serial & UINT32_MAX) << kSerialAt;
}

std::optional<HandleNumber> decode_handle(uint64_t number) {
  if (number >> kEnd != 0) return std::nullopt;
  const auto device = static_cast<uint32_t>(number >> kDeviceAt) & (instance::kMostDevices - 1);
  const auto partition = static_cast<uint32_t>(number & 0xff);
  HandleNumber handle;
  switch (static_cast<engine::NodeId::Kind>(number >> kKindAt & 3)) {
    case engine::NodeId::Kind::kControl:
      handle.node = engine::NodeId::control();
      break;
    case engine::NodeId::Kind::kDevice:
      handle.node = engine::NodeId::of_device(device);
      break;
    case engine::NodeId::Kind::kPartition:
      handle.node = engine::NodeId::of_partition(device, partition);
      break;
    default:
      return std::nullopt;
  }
  const uint64_t bits = number >> kOptionsAt & 15;
  handle.options = {.read = (bits & 1) != 0,
                    .write = (bits & 2) != 0,
                    .exclusive = (bits & 4) != 0,
                    .direct = (bits & 8) != 0,
                    .handle = number};
  return handle;
}

Result<uint64_t> HandleTable::open(const engine::NodeId& node, engine::OpenOptions options) {
  std::shared_ptr<void> permit;
  if (permits_) {
    auto given = permits_();
    if (!given) return fail(ENFILE, "open {}: {}", node.name(), given.error().what);
    permit = std::move(*given);
  }
  {
    const std::lock_guard lock(mutex_);
    const bool full = is_control(node) ? handles_.size() >= kMostHandles : devices_ >= kMostOfDevices;
    if (full) return fail(ENFILE, "open {}: too many open files", node.name());
    do {
      options.handle = encode_handle({node, options}, serial_++);
    } while (handles_.contains(options.handle));
  }
  auto opened = engine_->open(node, options);
  if (!opened) return propagate(opened);
  const std::lock_guard lock(mutex_);
  keep(options.handle, std::move(*opened), std::move(permit));
  return options.handle;
}

std::shared_ptr<engine::OpenNode> HandleTable::find(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = handles_.find(number);
  if (found != handles_.end()) return found->second.node;
  const auto handle = decode_handle(number);
  if (!handle) return nullptr;
  auto opened = engine_->open(handle->node, handle->options);
  if (!opened) return nullptr;
  return keep(number, std::move(*opened), late_permit());
}

std::shared_ptr<engine::OpenNode> HandleTable::keep(uint64_t number, std::shared_ptr<engine::OpenNode> node,
                                                    std::shared_ptr<void> permit) {
  if (!is_control(node->id())) ++devices_;
  Handle& handle = handles_[number] = {std::move(node), std::move(permit)};
  return handle.node;
}

std::shared_ptr<void> HandleTable::late_permit() const {
  return permits_ ? permits_().value_or(nullptr) : nullptr;
}

void HandleTable::adopt(uint64_t number, std::unique_ptr<engine::OpenNode> node) {
  const std::lock_guard lock(mutex_);
  keep(number, std::move(node), late_permit());
}

void HandleTable::close(uint64_t number) {
  Handle closed;  // ends without the lock: that may block
  {
    const std::lock_guard lock(mutex_);
    const auto found = handles_.find(number);
    if (found == handles_.end()) return;
    closed = std::move(found->second);
    handles_.erase(found);
    if (!is_control(closed.node->id())) --devices_;
  }
  // All other requests for it have been answered, and their threads are about to let go. It has to end before the
  // caller answers: that was the last that another server could hear of it.
  // Not so if the caller was killed in a request that is stuck in somebody's file system: that ends it later.
  for (auto pause = kFirstPause; closed.node.use_count() > 1 && pause < kLongestPause; pause *= 2) {
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace loopfs::fusefs
