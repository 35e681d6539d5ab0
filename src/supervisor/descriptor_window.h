// The numbers that descriptors of nodes have, so that a seccomp filter can tell them from all others.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>

#include "base/error.h"
#include "base/threads.h"
#include "fusefs/sandbox_server.h"

namespace loopfs::supervisor {

// Below the usual soft limit of 1024, and above what programs have open.
inline constexpr int kFirstOfWindow = 992, kLastOfWindow = 1023;

// A node that is opened is a regular file to the kernel. So that fstat(2) of it can be answered otherwise, its descriptor
// is moved into the window before open(2) returns: the caller is stopped there (ptrace(2)), and made to call fcntl(2) and
// close(2). What cannot be moved stays where it is: 0, 1 and 2, which are asked for by their number; all if the window is
// full, the caller's limit is below it, he is traced, has a seccomp filter of his own, which might not allow the calls, or
// is not of x86-64. Thread-safe.
class DescriptorWindow final : public fusefs::DescriptorMover {
 public:
  // `filters`: how many seccomp filters a process of the sandbox has that installed none. Nothing is moved before.
  void open(unsigned filters) { filters_ = filters; }
  // Returns when nobody is being moved any more.
  void close();

  bool move(pid_t tid) override;

  bool is_moving(pid_t tid) override;

 private:
  static constexpr unsigned kMost = 16;  // threads

  int move_stopped(pid_t tid, int stop);
  void forget(pid_t tid);

  std::atomic<unsigned> filters_ = 0;
  base::Threads threads_{kMost};
  std::shared_ptr<base::Lane> lane_ = base::Lane::create(&threads_, kMost);
  std::mutex mutex_;  // guards moving_
  std::set<pid_t> moving_;
};

}  // namespace loopfs::supervisor
