#include "supervisor/descriptor_window.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>

#include "sys/procfs.h"
#include "sys/stopped_call.h"
#include "sys/trace.h"

namespace loopfs::supervisor {
namespace {

constexpr std::chrono::seconds kPatience{2};

}  // namespace

void DescriptorWindow::close() {
  filters_ = 0;
  (void)lane_->drain(kPatience);
  (void)threads_.stop(kPatience);
}

bool DescriptorWindow::move(pid_t tid) {
  const unsigned filters = filters_;
  if (filters == 0) return false;
  {
    const std::lock_guard lock(mutex_);
    if (!moving_.insert(tid).second) return true;  // a second question in the same call
  }
  const auto status = sys::status_of(tid);
  const bool begun = status && status->seccomp_filters == filters &&
                     sys::at_end_of_call(
                         *lane_, tid, [this, tid](int stop) { return move_stopped(tid, stop); },
                         [this, tid] { forget(tid); });
  if (!begun) forget(tid);
  return begun;
}

bool DescriptorWindow::is_moving(pid_t tid) {
  const std::lock_guard lock(mutex_);
  return moving_.contains(tid);
}

void DescriptorWindow::forget(pid_t tid) {
  const std::lock_guard lock(mutex_);
  moving_.erase(tid);
}

// Returns what let_go() is to be told.
int DescriptorWindow::move_stopped(pid_t tid, int stop) {
  auto call = sys::StoppedCall::of(tid, stop);
  if (call && call->result() > STDERR_FILENO && call->result() < kFirstOfWindow) {
    const auto opened = static_cast<uint64_t>(call->result());
    const auto flags = sys::flags_of_fd(tid, static_cast<int>(opened));
    const int command = flags && (*flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD;
    const auto moved = flags
                           ? call->perform(SYS_fcntl, opened, static_cast<uint64_t>(command), kFirstOfWindow)
                           : propagate(flags);
    if (moved && *moved >= 0) {
      const bool fits = *moved <= kLastOfWindow;
      const auto closed = call->perform(SYS_close, fits ? opened : static_cast<uint64_t>(*moved));
      if (fits && closed) call->set_result(*moved);
    }
    stop = call->stop();
  }
  forget(tid);
  return stop;
}

}  // namespace loopfs::supervisor
