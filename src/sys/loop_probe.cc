#include "sys/loop_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys/loop_device.h"

namespace loopfs::sys {
namespace {

constexpr off_t kSize = 1 << 20;
constexpr uint32_t kNumbersTried = 64;
constexpr int kRemovals = 100, kMillisecondsBetween = 10;

// Whoever watches new devices may have it open for a moment.
void remove_patiently(int control, uint32_t number) {
  for (int tries = 0; tries < kRemovals; ++tries) {
    const auto removed = remove_loop_device(control, number);
    if (removed || removed.error().code != EBUSY) return;
    ::poll(nullptr, 0, kMillisecondsBetween);
  }
}

Result<uint32_t> add_any(int control) {
  for (uint32_t tries = 1;; ++tries) {
    const uint32_t number = kLoopNumbers - tries;
    const auto added = add_loop_device(control, number);
    if (added) return number;
    if (added.error().code != EEXIST || tries == kNumbersTried) return propagate(added);
  }
}

Result<bool> probe_device(uint32_t number) {
  const Fd memory(::memfd_create("loopfs-doctor", MFD_CLOEXEC));
  if (!memory.valid() || ::ftruncate(memory.get(), kSize) != 0) return errno_fail("memfd_create");
  const auto device = open_loop_device(number, 0, O_RDWR);
  if (!device) return propagate(device);
  loop_config config{};
  config.fd = static_cast<uint32_t>(memory.get());
  if (auto bound = configure_loop_device(device->get(), config); !bound) return propagate(bound);
  return clears_at_last_close(device->get(), config);
}

}  // namespace

Result<bool> clears_at_last_close(int device, const loop_config& config) {
  if (auto cleared = clear_loop_device(device); !cleared) return propagate(cleared);
  // A device that waits for its last close cannot be bound again; one that is unbound can.
  const auto again = configure_loop_device(device, config);
  if (again) (void)clear_loop_device(device);
  return !again && again.error().code == EBUSY;
}

Result<bool> probe_clears_at_last_close() {
  const auto control = open_loop_control();
  if (!control) return propagate(control);
  const auto number = add_any(control->get());
  if (!number) return propagate(number);
  auto answer = probe_device(*number);
  remove_patiently(control->get(), *number);
  return answer;
}

}  // namespace loopfs::sys
