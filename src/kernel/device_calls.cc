// What KernelEngine has done to kernel devices for those who may not themselves.
#include <fcntl.h>
#include <linux/fs.h>

#include "engine/ioctl_rules.h"
#include "kernel/kernel_engine.h"
#include "kernel/partition_worker.h"

namespace loopfs::kernel {

Result<void> KernelEngine::reread_partitions(uint32_t number, int device) {
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  if (!bound->has_open(device)) return fail(EINVAL, "loop{}: another device", number);
  if (auto read = sys::reread_partitions(device); !read) return read;
  return find_partitions(*bound);
}

Result<void> KernelEngine::find_partitions(const Binding& bound) const {
  if (options_.partition_worker.empty()) return {};
  return add_partitions(bound, options_.partition_worker);
}

Result<void> KernelEngine::ioctl(uint32_t number, const porter::DeviceIoctl& call, pid_t pid,
                                 int device_of_theirs, int hangup) {
  const engine::IoctlRule* rule = engine::find_ioctl(call.command);
  if (!rule || !rule->on_behalf()) return fail(ENOTTY, "ioctl {:#x} on behalf of others", call.command);
  if (call.bytes.size() != rule->size)
    return fail(EINVAL, "ioctl {:#x} of {} bytes", call.command, call.bytes.size());
  if (call.value > rule->most) return fail(EINVAL, "ioctl {:#x} to {}", call.command, call.value);
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  const auto sequence = bound->current_sequence();
  if (!sequence) return propagate(sequence);
  auto device = porter::ForeignFile::take_any(options_.strangers, pid, device_of_theirs);
  if (!device) return propagate(device);
  if (auto done = device->ioctl(*sequence, call, hangup); !done) return done;
  return call.command == BLKRRPART ? find_partitions(*bound) : Result<void>();
}

Result<void> KernelEngine::edit_partition(uint32_t number, const sys::PartitionEdit& edit) {
  const auto bound = binding(number);
  if (!bound) return fail(ENXIO, "loop{}: not bound", number);
  auto device = bound->open(0, O_RDONLY);
  if (!device) return propagate(device);
  return sys::edit_partition(device->get(), edit);
}

}  // namespace loopfs::kernel
