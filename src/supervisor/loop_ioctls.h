// ioctl(2) calls on the nodes of an instance whose devices are the kernel's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "engine/engine.h"
#include "engine/ioctl_rules.h"
#include "supervisor/target.h"
#include "sys/loop_device.h"

namespace loopfs::supervisor {

// What the kernel's own device cannot do for a sandbox: a descriptor on which LOOP_CONFIGURE has succeeded becomes
// the real block device in place; the status of a device has the sandbox's numbers; what the kernel keeps from the root of a
// user namespace is done by loopfsd (engine::IoctlRule). And links in /dev are there before the call that makes their node returns. Thread-safe; a call may
// block as the kernel's would.
class LoopIoctls {
 public:
  struct Options {
    dev_t instance_device = 0;  // st_dev of the nodes
    int nodes = -1;             // directory of the nodes; borrowed
    std::function<std::optional<engine::NodeId>(ino_t)> node_of_inode;
    std::function<std::optional<engine::NodeId>(dev_t)> node_of_device;
    std::function<std::optional<uint64_t>(engine::NodeId)> start_of_partition;  // bytes; none: it is none
    std::function<bool(pid_t)> may_administrate;  // CAP_SYS_ADMIN in the sandbox's user namespace
    // On a descriptor of ours, by loopfsd. `bytes`: what the argument points to; none: it is `value`.
    std::function<Result<void>(uint32_t, int fd, unsigned command, uint64_t value,
                               std::span<const std::byte> bytes)>
        ioctl;
    std::function<Result<void>(uint32_t, const sys::PartitionEdit&)> edit_partition;
  };
  explicit LoopIoctls(Options options) : options_(std::move(options)) {}

  // None: the kernel is to perform the call.
  std::optional<sys::CallResult> perform(const Target& target) const;

 private:
  struct Call;
  std::optional<sys::CallResult> configure(const Call& call) const;
  std::optional<sys::CallResult> get_geometry(const Call& call) const;
  template <typename Info>
  std::optional<sys::CallResult> get_status(const Call& call) const;
  std::optional<sys::CallResult> edit_partitions(const Call& call) const;
  std::optional<sys::CallResult> on_behalf(const Call& call, const engine::IoctlRule& rule) const;

  const Options options_;
};

// The commands that perform() is for.
const std::vector<unsigned long>& trapped_loop_ioctls();

}  // namespace loopfs::supervisor
