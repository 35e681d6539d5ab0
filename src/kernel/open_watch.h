// Follows callers from the answer that leads them to a kernel device until they have opened it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "base/threads.h"
#include "kernel/binding.h"
#include "sys/procfs.h"

namespace loopfs::kernel {

// Between the answer to LOOKUP or GETATTR and the kernel's own open of the device nobody asks us again. If the
// device were unbound in that time and bound to somebody else's file, the caller would get that. So it is
// kept, by a Pass, until the thread is seen past the system call it was in, has asked for something else, has
// ended, or has had far more processor time than the rest of an open takes. A thread that gets no processor
// time at all is waited for.
//
// One for each instance: a look into /proc of a caller waits for his execve(2), as long as that likes, and holds up the
// watching of callers of the same instance. It has a thread only while there is somebody to watch. Thread-safe.
class OpenWatch : public std::enable_shared_from_this<OpenWatch> {
 public:
  // The lanes of the instance: one to watch on, and one where passes end.
  OpenWatch(std::shared_ptr<base::Lane> watching, std::shared_ptr<base::Lane> closing)
      : watching_(std::move(watching)), closing_(std::move(closing)) {}

  // Replaces what the thread was let in for before: its requests come one after another.
  void add(pid_t tid, const std::optional<sys::SystemCall>& call, std::shared_ptr<Binding::Pass> pass);

  // The thread asks for something else: it is past what it was let in for. Returns when its pass is closed.
  void passed(pid_t tid);

  // Nobody is watched any more; the passes stay.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  // What is known of a caller. A look at him changes it.
  struct View {
    std::optional<sys::SystemCall> call;
    uint64_t run_time = 0;  // ns, when he was let in
  };
  struct Entry {
    uint64_t serial = 0;
    View view;
    std::shared_ptr<Binding::Pass> pass;
    Clock::time_point since;
    std::chrono::microseconds pause{0};
    Clock::time_point next;
  };
  static bool is_past(pid_t tid, View& view);
  void finish(std::shared_ptr<Binding::Pass> pass);
  void run();
  void look_at(pid_t tid, std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<base::Lane> watching_, closing_;
  std::mutex mutex_;  // guards what follows; never held while somebody is looked at
  std::condition_variable changed_;
  std::map<pid_t, Entry> entries_;
  uint64_t serial_ = 0;
  bool running_ = false, stopping_ = false;
};

}  // namespace loopfs::kernel
