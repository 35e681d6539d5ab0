// The process behind a notification: what it asked for, and where it stands.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/seccomp.h"

namespace loopfs::supervisor {

// Everything is read once; each reading is followed by a check that the notification is still valid, so that
// none is of a process that came to have the same id. On any thread.
class Target {
 public:
  // `listener` is borrowed.
  Target(int listener, const sys::Notification& notification)
      : listener_(listener), notification_(notification) {}

  // The string that argument `index` points to; empty for a null pointer. Errors: EFAULT, ENAMETOOLONG (over
  // 4096 bytes), ESRCH the caller is gone.
  Result<std::string> text(size_t index) const;

  // The namespaces, root and working directory of the caller, in the order of mounter::RequestFd.
  // Errors: EPERM if it may not mount there: no CAP_SYS_ADMIN in the user namespace that owns its mounts.
  Result<std::vector<Fd>> places() const;

  // A path of the caller's as a process with another id has to write it.
  std::string visible_path(const std::string& path) const;

  bool valid() const { return sys::notification_valid(listener_, notification_.id); }
  const sys::Notification& notification() const { return notification_; }
  int listener() const { return listener_; }

 private:
  Result<Fd> open(const char* name) const;

  int listener_;
  sys::Notification notification_;
};

}  // namespace loopfs::supervisor
