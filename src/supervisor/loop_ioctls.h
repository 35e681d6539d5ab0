// ioctl(2) calls on the nodes of an instance whose devices are the kernel's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "engine/engine.h"
#include "supervisor/target.h"
#include "sys/loop_device.h"

namespace loopfs::supervisor {

// What the kernel's own device cannot do for a sandbox: a descriptor on which LOOP_CONFIGURE has succeeded becomes
// the real block device in place; the status of a device has the sandbox's number; partitions can be read again
// and edited. And links in /dev are there before the call that makes their node returns. Thread-safe; a call may
// block as the kernel's would.
class LoopIoctls {
 public:
  struct Options {
    dev_t instance_device = 0;  // st_dev of the nodes
    int nodes = -1;             // directory of the nodes; borrowed
    std::function<std::optional<engine::NodeId>(ino_t)> node_of_inode;
    std::function<void()> changed;  // nodes may have come or gone
    std::function<Result<void>(uint32_t, int device)> reread_partitions;
    std::function<Result<void>(uint32_t, const sys::PartitionEdit&)> edit_partition;
  };
  explicit LoopIoctls(Options options) : options_(std::move(options)) {}

  // None: the kernel is to perform the call.
  std::optional<sys::CallResult> perform(const Target& target) const;

 private:
  struct Call;
  std::optional<sys::CallResult> configure(const Call& call) const;
  std::optional<sys::CallResult> control(const Call& call) const;
  std::optional<sys::CallResult> partitions(const Call& call) const;
  std::optional<sys::CallResult> change(const Call& call) const;

  const Options options_;
};

// The commands that perform() is for.
std::span<const unsigned long> trapped_loop_ioctls();

}  // namespace loopfs::supervisor
