// The listener of a seccomp filter: seccomp_unotify(2).
#pragma once

#include <linux/seccomp.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/fd.h"

struct sock_fprog;

namespace loopfs::sys {

// A trapped system call. Its caller waits for the answer.
struct Notification {
  uint64_t id = 0;
  pid_t tid = 0;  // as the receiver's pid namespace numbers it; 0: not visible there
  int number = 0;
  uint32_t architecture = 0;  // AUDIT_ARCH_*
  std::array<uint64_t, 6> arguments{};
};

// Installs the filter on the calling thread and returns its listener. Waits of callers are killable only
// where the kernel can (5.19). Errors: EBUSY another listener is in charge, EACCES without CAP_SYS_ADMIN and
// no_new_privs.
Result<Fd> install_filter_with_listener(const sock_fprog& program);

// The next notification; blocks. None: its caller was gone before we had it.
// Errors: those of ioctl(2).
Result<std::optional<Notification>> receive_notification(int listener);

// Whether the caller still waits. After a read of its memory or of /proc: only if so was that the caller's.
bool notification_valid(int listener, uint64_t id);

// What a system call comes to: an errno, or a value.
struct CallResult {
  int error = 0;
  int64_t value = 0;

  CallResult(int code) : error(code) {}  // NOLINT: an errno is one
  static CallResult of_value(int64_t number) {
    CallResult result(0);
    result.value = number;
    return result;
  }
  bool operator==(const CallResult&) const = default;
};

// The caller's system call comes to that. A caller that is gone is no error.
Result<void> answer_notification(int listener, uint64_t id, const CallResult& result);

// The caller's descriptor `number` becomes a duplicate of `own_fd`: SECCOMP_IOCTL_NOTIF_ADDFD.
Result<void> replace_descriptor(int listener, uint64_t id, int own_fd, int number, bool close_on_exec);

// The kernel performs the call after all, with the caller's own rights, reading its arguments anew.
Result<void> continue_notification(int listener, uint64_t id);

}  // namespace loopfs::sys
