#include "sys/stopped_call.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "sys/trace.h"

#ifdef __x86_64__

namespace loopfs::sys {
namespace {

constexpr long kAnswer = 4711;
volatile sig_atomic_t handled = 0;

void handle(int) {
  handled = 1;
}

// A process that asks for its parent until it is told something else. Its status tells what it has seen.
class Asking {
 public:
  Asking() {
    const long parent = ::getpid();
    int ready[2] = {-1, -1};
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ != 0) {
      ::close(ready[1]);
      char byte = 0;
      EXPECT_EQ(::read(ready[0], &byte, 1), 1);
      ::close(ready[0]);
      return;
    }
    ::signal(SIGUSR1, handle);
    if (::write(ready[1], "", 1) != 1) ::_exit(3);
    long answer = parent;
    while (answer == parent) answer = ::syscall(SYS_getppid);
    ::_exit(answer == kAnswer ? handled : 2);
  }
  ~Asking() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  pid_t pid() const { return pid_; }
  // Stopped at the end of its call.
  int stop() {
    EXPECT_TRUE(stop_at_end_of_call(pid_));
    EXPECT_TRUE(wait_for_stop(pid_));  // anywhere
    EXPECT_EQ(::ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr), 0);
    EXPECT_TRUE(wait_for_stop(pid_));  // at the beginning of it
    EXPECT_EQ(::ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr), 0);
    EXPECT_EQ(::ptrace(PTRACE_CONT, pid_, nullptr, nullptr), 0);
    return wait_for_stop(pid_).value_or(0);
  }
  int status() {
    int status = -1;
    EXPECT_EQ(::waitpid(pid_, &status, __WALL), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
};

TEST(StoppedCall, MakesCallsAndLeavesTheThreadAsItWas) {
  Asking child;
  const int stop = child.stop();
  auto call = StoppedCall::of(child.pid(), stop);
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_EQ(call->result(), ::getpid());
  EXPECT_EQ(call->perform(SYS_getpid).value_or(0), child.pid());
  EXPECT_EQ(call->perform(SYS_fcntl, 999, F_GETFD).value_or(0), -EBADF);
  const auto fd = call->perform(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 900);
  EXPECT_EQ(fd.value_or(0), 900);
  call->set_result(kAnswer);
  const int next = call->stop();
  { const auto ended = std::move(*call); }
  let_go(child.pid(), next);
  EXPECT_EQ(child.status(), 0);
}

TEST(StoppedCall, SignalsWaitUntilItIsOver) {
  Asking child;
  const int stop = child.stop();
  {
    auto call = StoppedCall::of(child.pid(), stop);
    ASSERT_TRUE(call);
    ::kill(child.pid(), SIGUSR1);
    EXPECT_EQ(call->perform(SYS_getpid).value_or(0), child.pid());
    call->set_result(kAnswer);
  }
  let_go(child.pid(), stop);
  EXPECT_EQ(child.status(), 1);
}

TEST(StoppedCall, AStopSignalIsDeliveredAfterwards) {
  Asking child;
  const int stop = child.stop();
  int next = stop;
  {
    auto call = StoppedCall::of(child.pid(), stop);
    ASSERT_TRUE(call);
    ::kill(child.pid(), SIGSTOP);
    EXPECT_EQ(call->perform(SYS_getpid).value_or(0), child.pid());
    call->set_result(kAnswer);
    next = call->stop();
  }
  let_go(child.pid(), next);
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
  EXPECT_TRUE(WIFSTOPPED(status));
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.status(), 0);
}

TEST(StoppedCall, AKilledThreadIsGone) {
  Asking child;
  const int stop = child.stop();
  auto call = StoppedCall::of(child.pid(), stop);
  ASSERT_TRUE(call);
  ::kill(child.pid(), SIGKILL);
  EXPECT_FALSE(call->perform(SYS_getpid));
}

TEST(StoppedCall, TheEndOfAKilledOneComesToItsParent) {
  int known[2] = {-1, -1};
  ASSERT_EQ(::pipe(known), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const pid_t child = ::fork();
    while (child == 0) ::syscall(SYS_getppid);
    if (::write(known[1], &child, sizeof child) != sizeof child) ::_exit(2);
    ::_exit(::waitpid(child, nullptr, 0) == child ? 0 : 1);
  }
  pid_t child = -1;
  ASSERT_EQ(::read(known[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  ASSERT_TRUE(stop_at_end_of_call(child));
  const auto stop = wait_for_stop(child);
  ASSERT_TRUE(stop);
  ::kill(child, SIGKILL);
  let_go(child, *stop);
  int status = -1;
  for (int tries = 0; tries < 200 && ::waitpid(parent, &status, WNOHANG) == 0; ++tries) ::usleep(10'000);
  if (status == -1) {
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
  }
  EXPECT_EQ(status, 0);
  ::close(known[0]);
  ::close(known[1]);
}

TEST(StoppedCall, WhoIsInNoCallCannotBeMadeToCall) {
  const pid_t spinning = ::fork();
  if (spinning == 0) {
    for (volatile bool on = true; on;) {
    }
  }
  ::usleep(10'000);
  ASSERT_TRUE(stop_at_end_of_call(spinning));
  const auto stop = wait_for_stop(spinning);
  ASSERT_TRUE(stop);
  EXPECT_EQ(StoppedCall::of(spinning, *stop).error().code, EOPNOTSUPP);
  ::kill(spinning, SIGKILL);
  ::waitpid(spinning, nullptr, __WALL);
}

}  // namespace
}  // namespace loopfs::sys

#endif
