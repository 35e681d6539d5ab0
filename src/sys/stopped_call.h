// System calls made by another thread, at the end of one of its own: ptrace(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "base/error.h"

namespace loopfs::sys {

// A thread that wait_for_stop() has found stopped as it leaves a system call, and what that call comes to. Until the object
// goes, the thread has all signals blocked; then it is as it was, but for the result. One of x86-64's own system calls: on
// other processors there is none.
class StoppedCall {
 public:
  // `stop`: as wait_for_stop() returns it. The calling thread traces `tid`.
  // Errors: EOPNOTSUPP it is in no such call, or stopped for something else; those of ptrace(2).
  static Result<StoppedCall> of(pid_t tid, int stop);
  StoppedCall(StoppedCall&&) noexcept;
  StoppedCall& operator=(StoppedCall&&) = delete;
  ~StoppedCall();

  // What it returns to its caller: a value, or an errno below zero.
  int64_t result() const;
  void set_result(int64_t value);

  // Has the thread make the call and returns its result. Errors: ESRCH it was killed.
  Result<int64_t> perform(long number, uint64_t first = 0, uint64_t second = 0, uint64_t third = 0);

  // What let_go() needs now: a stop signal that came meanwhile is delivered then.
  int stop() const;

 private:
  struct State;
  explicit StoppedCall(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace loopfs::sys
