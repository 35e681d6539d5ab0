// Open nodes of the user engine.
#pragma once

#include <memory>

#include "engine/control_node.h"
#include "engine/core.h"

namespace loopfs::engine {

// An open loopN or loopNpM. Its ioctls are in loop_ioctl.cc and block_ioctl.cc.
class DeviceHandle final : public OpenNode {
 public:
  // Under the core's mutex. `counted`: the device has been opened in the model with these options, which ends with the handle.
  DeviceHandle(std::shared_ptr<Core> core, std::shared_ptr<Slot> slot, uint32_t partition,
               const OpenOptions& options, bool counted = true)
      : core_(std::move(core)),
        slot_(std::move(slot)),
        partition_(partition),
        options_(options),
        counted_(counted),
        partition_counters_(slot_->counters_of(partition)) {}
  ~DeviceHandle() override;

  NodeId id() const override { return slot_->id(partition_); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) override;
  Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync(bool data_only) override;
  Result<void> allocate(int mode, uint64_t offset, uint64_t length) override;
  Result<int> ioctl(IoctlRequest& request, const Caller& caller) override;
  void descriptor_closing() override;

  // For the ioctls.
  Core& core() const { return *core_; }
  const std::shared_ptr<Core>& shared_core() const { return core_; }
  const std::shared_ptr<Slot>& slot() const { return slot_; }
  instance::Device& device() const { return *slot_->device; }  // under the core's mutex
  uint32_t partition() const { return partition_; }
  const OpenOptions& options() const { return options_; }
  IoView view() const;
  IoCounters* partition_counters() const { return partition_counters_.get(); }
  // Gives back or zeroes a range of the node, both in bytes and inside it.
  Result<void> punch(const IoView& view, uint64_t offset, uint64_t length);
  Result<void> zero(const IoView& view, uint64_t offset, uint64_t length, bool keep_space);

 private:
  const std::shared_ptr<Core> core_;
  const std::shared_ptr<Slot> slot_;
  const uint32_t partition_;
  const OpenOptions options_;
  const bool counted_;
  const std::shared_ptr<IoCounters> partition_counters_;  // null: the handle is of the device itself
};

// An open loop-control.
class ControlHandle final : public ControlNode {
 public:
  explicit ControlHandle(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  Result<int> ioctl(IoctlRequest& request, const Caller& caller) override;

 private:
  const std::shared_ptr<Core> core_;
};

// LOOP_CTL_REMOVE, also for unlink(2): waits for closes under way before it says EBUSY.
Result<void> remove_device(Core& core, int64_t number);

}  // namespace loopfs::engine
