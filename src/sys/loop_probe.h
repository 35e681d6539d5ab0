// Whether LOOP_CLR_FD leaves a device bound for as long as somebody, the caller included, has it open; found out by
// trying. Kernels before 6.11 unbind it at once if the caller is the only one who has it open.
#pragma once

#include <linux/loop.h>

#include <functional>

#include "base/error.h"

namespace loopfs::sys {

// A loop device that is open by us with a claim (O_EXCL), so that nobody else can claim or bind it, and unbound.
class ProbeDevice {
 public:
  virtual ~ProbeDevice() = default;
  virtual Result<void> bind() = 0;    // LOOP_CONFIGURE
  virtual Result<void> clear() = 0;   // LOOP_CLR_FD
  virtual Result<void> status() = 0;  // LOOP_GET_STATUS64
};

// The kernel's. `device` is borrowed.
class KernelProbeDevice : public ProbeDevice {
 public:
  KernelProbeDevice(int device, const loop_config& config) : device_(device), config_(config) {}
  Result<void> bind() override;
  Result<void> clear() override;
  Result<void> status() override;

 private:
  const int device_;
  const loop_config config_;
};

enum class LastClose {
  kDecides,  // the device stays bound until then
  kDoesNot,  // it was unbound at once
  kNotTold,  // somebody else had it open, or bound it: both kinds of kernel answer alike then
};

// One try. Leaves the device as it may be: close it. Errors: of the three calls, but those that are an answer.
Result<LastClose> try_last_close(ProbeDevice& device);

// Tries until there is an answer. udevd opens each new device for a moment, and others may, too. So each try has a
// device of its own, and from the second on some time passes between its making and the try.
//   attempt(settle)   makes a device, calls `settle`, and returns what try_last_close() says
//   pause()           waits; false: it has been long enough
// Errors: EAGAIN somebody else had each of the devices open; those of `attempt`.
using ProbeAttempt = std::function<Result<LastClose>(const std::function<void()>& settle)>;
using ProbePause = std::function<bool()>;
Result<bool> clears_at_last_close(const ProbeAttempt& attempt, const ProbePause& pause);

// Longer and longer, by chance, some seconds in all.
ProbePause patient_pause();

// For `loopfs doctor`: on devices with numbers that nobody else uses, bound to memory, which are removed. Errors: EACCES,
// EPERM only root may; ENOENT without /dev/loop-control, or where new devices do not appear in /dev; EAGAIN.
Result<bool> probe_clears_at_last_close();

}  // namespace loopfs::sys
