#include "sys/stopped_call.h"

#include <sys/ptrace.h>
#include <sys/user.h>

#include <cerrno>
#include <csignal>

#include "sys/trace.h"

namespace loopfs::sys {

#ifdef __x86_64__

namespace {

constexpr uint64_t kAllSignals = ~uint64_t{0};
constexpr int kSystemCallStop = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD
constexpr long kInstruction = 0x050f;            // syscall
constexpr int kInstructionSize = 2;
constexpr uint64_t kX32Bit = 0x40000000;

bool is_event(int stop) {
  return (stop >> 16) != 0;
}

// ptrace(2) takes all its arguments as pointers.
void* word(uint64_t value) {
  return reinterpret_cast<void*>(value);
}

}  // namespace

struct StoppedCall::State {
  pid_t tid = 0;
  int stop = 0;
  user_regs_struct registers{};
  uint64_t blocked = 0;  // its signal mask

  // The thread goes on to its next stop at a system call. Errors: ESRCH.
  Result<void> go_on();
};

Result<void> StoppedCall::State::go_on() {
  for (;;) {
    if (::ptrace(PTRACE_SYSCALL, tid, nullptr, nullptr) != 0) return errno_fail("PTRACE_SYSCALL {}", tid);
    const auto next = wait_for_stop(tid);
    if (!next) return propagate(next);
    if (WSTOPSIG(*next) == kSystemCallStop) return {};
    // All that cannot be blocked: SIGSTOP, and the stop of the whole process.
    if (!is_event(*next)) stop = *next;
  }
}

Result<StoppedCall> StoppedCall::of(pid_t tid, int stop) {
  if (!is_event(stop)) return fail(EOPNOTSUPP, "thread {}: has a signal", tid);
  auto state = std::make_unique<State>();
  state->tid = tid;
  state->stop = stop;
  if (::ptrace(PTRACE_GETREGS, tid, nullptr, &state->registers) != 0)
    return errno_fail("PTRACE_GETREGS {}", tid);
  const user_regs_struct& registers = state->registers;
  errno = 0;
  const long code = ::ptrace(PTRACE_PEEKTEXT, tid, word(registers.rip - kInstructionSize), nullptr);
  const bool native = errno == 0 && (code & 0xffff) == kInstruction;
  const auto number = static_cast<int64_t>(registers.orig_rax);
  if (!native || number < 0 || (registers.orig_rax & kX32Bit) != 0)
    return fail(EOPNOTSUPP, "thread {}: in no system call of its processor's", tid);
  if (::ptrace(PTRACE_GETSIGMASK, tid, word(sizeof state->blocked), &state->blocked) != 0 ||
      ::ptrace(PTRACE_SETSIGMASK, tid, word(sizeof kAllSignals), &kAllSignals) != 0) {
    return errno_fail("PTRACE_SETSIGMASK {}", tid);
  }
  return StoppedCall(std::move(state));
}

StoppedCall::~StoppedCall() {
  if (!state_) return;
  ::ptrace(PTRACE_SETREGS, state_->tid, nullptr, &state_->registers);
  ::ptrace(PTRACE_SETSIGMASK, state_->tid, word(sizeof state_->blocked), &state_->blocked);
}

int64_t StoppedCall::result() const {
  return static_cast<int64_t>(state_->registers.rax);
}

void StoppedCall::set_result(int64_t value) {
  state_->registers.rax = static_cast<uint64_t>(value);
}

Result<int64_t> StoppedCall::perform(long number, uint64_t first, uint64_t second, uint64_t third) {
  user_regs_struct registers = state_->registers;
  registers.rip -= kInstructionSize;
  registers.rax = static_cast<uint64_t>(number);
  registers.orig_rax = static_cast<uint64_t>(-1);  // it is in no call that would have to be begun again
  registers.rdi = first;
  registers.rsi = second;
  registers.rdx = third;
  if (::ptrace(PTRACE_SETREGS, state_->tid, nullptr, &registers) != 0)
    return errno_fail("PTRACE_SETREGS {}", state_->tid);
  for (int stops = 0; stops < 2; ++stops) {  // at the beginning of the call, and at its end
    if (auto gone_on = state_->go_on(); !gone_on) return propagate(gone_on);
  }
  if (::ptrace(PTRACE_GETREGS, state_->tid, nullptr, &registers) != 0)
    return errno_fail("PTRACE_GETREGS {}", state_->tid);
  return static_cast<int64_t>(registers.rax);
}

#else

struct StoppedCall::State {
  int stop = 0;
};

Result<StoppedCall> StoppedCall::of(pid_t tid, int) {
  return fail(EOPNOTSUPP, "thread {}: of another processor", tid);
}
StoppedCall::~StoppedCall() = default;
int64_t StoppedCall::result() const {
  return -EOPNOTSUPP;
}
void StoppedCall::set_result(int64_t) {}
Result<int64_t> StoppedCall::perform(long, uint64_t, uint64_t, uint64_t) {
  return fail(EOPNOTSUPP, "a call of another processor");
}

#endif

StoppedCall::StoppedCall(std::unique_ptr<State> state) : state_(std::move(state)) {}
StoppedCall::StoppedCall(StoppedCall&&) noexcept = default;
int StoppedCall::stop() const {
  return state_->stop;
}

}  // namespace loopfs::sys
