// What KernelEngine tells its journal, and has from it after a restart.
#include "kernel/bind.h"
#include "kernel/kernel_engine.h"

namespace loopfs::kernel {

DeviceRecord KernelEngine::record_of(const Slot& slot) const {
  DeviceRecord record{.number = slot.number, .owners = slot.owners};
  if (slot.binding) {
    record.binding = BindingRecord{.kernel_device = slot.binding->number(),
                                   .sequence = slot.binding->sequence(),
                                   .backing_path = slot.binding->backing_path(),
                                   .token = slot.binding->token(),
                                   .backing_device = slot.binding->file().device,
                                   .backing_inode = slot.binding->file().inode};
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

void KernelEngine::restore(const std::vector<DeviceRecord>& records,
                           const std::optional<engine::NodeOwner>& control,
                           std::chrono::steady_clock::time_point deadline) {
  const std::lock_guard lock(mutex_);
  if (control) control_owner_ = *control;
  for (const DeviceRecord& record : records) {
    Slot slot{.number = record.number, .owners = record.owners, .sequence_while_free = next_sequence()};
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
