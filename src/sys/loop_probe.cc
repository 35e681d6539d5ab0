#include "sys/loop_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <vector>

#include "base/fd.h"
#include "sys/loop_device.h"

namespace loopfs::sys {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{20}, kLongestPause{500}, kPatience{6000};
constexpr milliseconds kRemovalPatience{1000}, kBetweenRemovals{10};
constexpr off_t kSize = 1 << 20;

// Whoever watches new devices may have them open for a moment.
void remove_patiently(int control, const std::vector<uint32_t>& numbers) {
  const auto deadline = Clock::now() + kRemovalPatience;
  for (const uint32_t number : numbers) {
    for (;;) {
      const auto removed = remove_loop_device(control, number);
      if (removed || removed.error().code != EBUSY || Clock::now() > deadline) break;
      ::poll(nullptr, 0, static_cast<int>(kBetweenRemovals.count()));
    }
  }
}

// A new one; what is left of an earlier probe, because somebody had it open for too long, is made anew.
Result<uint32_t> add_any(int control, std::vector<uint32_t>& used) {
  uint32_t number = used.empty() ? kEndOfLoopDevices : used.back();
  while (--number >= kEndOfLoopDevices - kLoopDevicesToTry) {
    auto added = add_loop_device(control, number);
    if (!added && added.error().code == EEXIST && remove_loop_device(control, number))
      added = add_loop_device(control, number);
    if (!added && added.error().code == EEXIST) continue;
    if (!added) return propagate(added);
    used.push_back(number);
    return number;
  }
  return fail(EAGAIN, "make a loop device to try");
}

Result<LastClose> attempt_on(uint32_t number, int memory) {
  const auto device = open_loop_device(number, 0, O_RDWR | O_EXCL);
  if (!device && device.error().code == EBUSY) return LastClose::kNotTold;
  if (!device) return propagate(device);
  loop_config config{};
  config.fd = static_cast<uint32_t>(memory);
  KernelProbeDevice probe(device->get(), config);
  return try_last_close(probe);
}

}  // namespace

Result<void> KernelProbeDevice::bind() {
  return configure_loop_device(device_, config_);
}

Result<void> KernelProbeDevice::clear() {
  return clear_loop_device(device_);
}

Result<void> KernelProbeDevice::status() {
  if (auto status = loop_status(device_); !status) return propagate(status);
  return {};
}

Result<LastClose> try_last_close(ProbeDevice& device) {
  const auto bound = device.bind();
  if (!bound && bound.error().code == EBUSY) return LastClose::kNotTold;  // bound before we had the claim
  if (!bound) return propagate(bound);
  if (auto cleared = device.clear(); !cleared) return propagate(cleared);
  // If we were the only ones, it is unbound now or waits for our close: not bound, in both cases. If not, both kinds of
  // kernel have only marked it.
  const auto after = device.status();
  if (after) return LastClose::kNotTold;
  if (after.error().code != ENXIO) return propagate(after);
  // What waits for its last close cannot be bound; what is unbound can.
  const auto again = device.bind();
  if (again) {
    (void)device.clear();
    return LastClose::kDoesNot;
  }
  if (again.error().code != EBUSY) return propagate(again);
  // Or it was unbound, and is another's by now.
  const auto at_last = device.status();
  if (at_last) return LastClose::kNotTold;
  if (at_last.error().code != ENXIO) return propagate(at_last);
  return LastClose::kDecides;
}

Result<bool> clears_at_last_close(const ProbeAttempt& attempt, const ProbePause& pause) {
  bool more = true;
  for (unsigned tries = 0; more; ++tries) {
    const auto answer = attempt([&] {
      if (tries > 0) more = pause();
    });
    if (!answer) return propagate(answer);
    if (*answer != LastClose::kNotTold) return *answer == LastClose::kDecides;
  }
  return fail(EAGAIN, "somebody else has each new loop device open");
}

ProbePause patient_pause() {
  return [end = Clock::now() + kPatience, longest = kFirstPause,
          random = std::minstd_rand(std::random_device{}())]() mutable {
    std::uniform_int_distribution<int> length(1, static_cast<int>(longest.count()));
    longest = std::min(2 * longest, kLongestPause);
    ::poll(nullptr, 0, length(random));
    return Clock::now() < end;
  };
}

Result<bool> probe_clears_at_last_close() {
  const auto control = open_loop_control();
  if (!control) return propagate(control);
  const Fd memory(::memfd_create("loopfs-doctor", MFD_CLOEXEC));
  if (!memory.valid() || ::ftruncate(memory.get(), kSize) != 0) return errno_fail("memfd_create");
  std::vector<uint32_t> used;
  const auto attempt = [&](const std::function<void()>& settle) -> Result<LastClose> {
    const auto number = add_any(control->get(), used);
    if (!number) return propagate(number);
    settle();
    return attempt_on(*number, memory.get());
  };
  auto answer = clears_at_last_close(attempt, patient_pause());
  remove_patiently(control->get(), used);
  return answer;
}

}  // namespace loopfs::sys
