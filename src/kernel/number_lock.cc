#include "kernel/number_lock.h"

#include "sys/range_lock.h"

namespace loopfs::kernel {

Result<Fd> lock_numbers(const DevicePool::Options& numbers, Fd kept) {
  if (!kept.valid()) {
    auto control = sys::open_loop_control();
    if (!control) return propagate(control);
    kept = std::move(*control);
  }
  // Also of one that was kept: a newer program may want more.
  const auto other = sys::lock_range(kept.get(), {numbers.first, numbers.count});
  if (!other) return propagate(other, "reserve kernel loop devices");
  if (!*other) return kept;
  return fail(EADDRINUSE, "kernel loop devices {} to {}: another loopfsd has {} to {}", numbers.first,
              numbers.first + numbers.count - 1, (*other)->first, (*other)->first + (*other)->count - 1);
}

}  // namespace loopfs::kernel
