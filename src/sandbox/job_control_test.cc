#include "sandbox/job_control.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

namespace loopfs::sandbox {
namespace {

class SignalQueueTest : public testing::Test {
 protected:
  void SetUp() override {
    auto queue = SignalQueue::create(&before_);
    ASSERT_TRUE(queue);
    queue_.emplace(std::move(*queue));
  }
  void TearDown() override { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  sigset_t before_ = {};
  std::optional<SignalQueue> queue_;
};

TEST_F(SignalQueueTest, GivesWhatAProcessSent) {
  EXPECT_EQ(queue_->next(), std::nullopt);
  ::kill(::getpid(), SIGUSR1);
  EXPECT_EQ(queue_->next(), SIGUSR1);
  EXPECT_EQ(queue_->next(), std::nullopt);
}

TEST_F(SignalQueueTest, TellsTheTerminalsSignalsApart) {
  EXPECT_FALSE(is_for_the_command({.ssi_signo = SIGINT, .ssi_code = SI_KERNEL}));
  EXPECT_TRUE(is_for_the_command({.ssi_signo = SIGINT, .ssi_code = SI_USER}));
  EXPECT_TRUE(is_for_the_command({.ssi_signo = SIGINT, .ssi_code = SI_QUEUE}));
  EXPECT_TRUE(is_for_the_command({.ssi_signo = SIGINT, .ssi_code = SI_TKILL}));
}

TEST_F(SignalQueueTest, AnInterruptionIsASignalThatWouldHaveEndedUs) {
  ::kill(::getpid(), SIGWINCH);
  EXPECT_EQ(queue_->next_interruption(), std::nullopt);
  ::kill(::getpid(), SIGTERM);
  EXPECT_EQ(queue_->next_interruption(), SIGTERM);
}

TEST_F(SignalQueueTest, AnIgnoredSignalIsNoInterruption) {
  const auto kept = ::signal(SIGHUP, SIG_IGN);
  ::kill(::getpid(), SIGHUP);
  EXPECT_EQ(queue_->next_interruption(), std::nullopt);
  ::signal(SIGHUP, kept);
}

}  // namespace
}  // namespace loopfs::sandbox
