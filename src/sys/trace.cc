#include "sys/trace.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <future>
#include <memory>

namespace loopfs::sys {

bool at_end_of_call(base::Lane& lane, pid_t tid, const std::function<int(int stop)>& act,
                    const std::function<void()>& gone) {
  auto stopping = std::make_shared<std::promise<bool>>();
  auto answer = stopping->get_future();
  const bool begun = lane.run_at_once([tid, stopping, act, gone] {
    const bool stops = stop_at_end_of_call(tid).has_value();
    stopping->set_value(stops);
    if (!stops) return;
    if (const auto stop = wait_for_stop(tid)) {
      let_go(tid, act(*stop));
    } else {
      gone();
    }
  });
  return begun && answer.get();
}

Result<void> stop_at_end_of_call(pid_t tid) {
  // So that stops at system calls, if there are any, can be told from signals.
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, PTRACE_O_TRACESYSGOOD) != 0)
    return errno_fail("PTRACE_SEIZE {}", tid);
  // Not for threads of the kernel's own making (io_uring's): SEIZE has refused those.
  if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) return errno_fail("PTRACE_INTERRUPT {}", tid);
  return {};
}

Result<int> wait_for_stop(pid_t tid) {
  for (;;) {
    int status = 0;
    const pid_t found = ::waitpid(tid, &status, __WALL);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0 || !WIFSTOPPED(status)) return fail(ESRCH, "thread {}", tid);
    return status;
  }
}

void let_go(pid_t tid, int stop) {
  // PTRACE_EVENT_STOP, our own doing or a group-stop, is not a signal to be delivered.
  const bool event = (stop >> 16) != 0;
  const long signal = event ? 0 : WSTOPSIG(stop);
  // One that was killed meanwhile is kept from its parent, and from the end of its pid namespace, until its end is taken.
  while (::ptrace(PTRACE_DETACH, tid, nullptr, signal) != 0 && wait_for_stop(tid)) {
  }
}

}  // namespace loopfs::sys
