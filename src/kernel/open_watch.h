// Follows callers from the answer that leads them to a kernel device until they have opened it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/threads.h"
#include "kernel/binding.h"
#include "sys/procfs.h"

namespace loopfs::kernel {

// Between the answer to LOOKUP or GETATTR and the kernel's own open of the device nobody asks us again. If the
// device were unbound in that time and bound to somebody else's file, the caller would get that. So it is
// kept, by a Pass, until the thread is seen past the system call it was in, has asked for something else, has
// ended, or has had far more processor time than the rest of an open takes. A thread that gets no processor
// time at all is waited for. One thread for all; Passes end on the lane of their instance.
class OpenWatch {
 public:
  OpenWatch();
  ~OpenWatch();

  // Replaces what the thread was let in for before: its requests come one after another.
  void add(pid_t tid, const std::optional<sys::SystemCall>& call, std::shared_ptr<Binding::Pass> pass,
           std::shared_ptr<base::Lane> lane);

  // The thread asks for something else: it is past what it was let in for. Returns when its pass is closed.
  void passed(pid_t tid);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::optional<sys::SystemCall> call;
    uint64_t run_time = 0;  // ns, when it was let in
    std::shared_ptr<Binding::Pass> pass;
    std::shared_ptr<base::Lane> lane;
    Clock::time_point since;
    std::chrono::microseconds pause{0};
    Clock::time_point next;
  };
  static bool is_past(pid_t tid, Entry& entry);
  static void finish(Entry entry);
  void run();

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::map<pid_t, Entry> entries_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace loopfs::kernel
