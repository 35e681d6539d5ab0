#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace loopfs::base {
namespace {

using std::chrono::seconds;

TEST(Lane, RunsAtMostItsWidthAtATime) {
  Threads threads(16);
  const auto lane = Lane::create(&threads, 2);
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  std::atomic<int> running = 0, most = 0, done = 0;
  for (int i = 0; i < 10; ++i) {
    lane->run([&, open] {
      most = std::max(most.load(), ++running);
      open.wait();
      --running;
      ++done;
    });
  }
  EXPECT_FALSE(lane->drain(std::chrono::milliseconds(50)));
  EXPECT_EQ(lane->waiting(), 8u);
  gate.set_value();
  EXPECT_TRUE(lane->drain(seconds(5)));
  EXPECT_EQ(most, 2);
  EXPECT_EQ(done, 10);
  EXPECT_TRUE(threads.stop(seconds(5)));
}

TEST(Lane, OneThatIsStuckKeepsNoOtherWaiting) {
  Threads threads(16);
  const auto stuck = Lane::create(&threads, 3), healthy = Lane::create(&threads, 3);
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  for (int i = 0; i < 100; ++i) stuck->run([open] { open.wait(); });
  std::promise<void> ran;
  healthy->run([&] { ran.set_value(); });
  EXPECT_EQ(ran.get_future().wait_for(seconds(5)), std::future_status::ready);
  gate.set_value();
  EXPECT_TRUE(stuck->drain(seconds(5)));
  EXPECT_TRUE(threads.stop(seconds(5)));
}

TEST(Lane, DrainWaitsForWhatIsTakenAndNotYetRun) {
  Threads threads(1);
  const auto lane = Lane::create(&threads, 1);
  int ran = 0;
  auto first = lane->take([&] { ++ran; });
  ASSERT_TRUE(first);
  EXPECT_FALSE(lane->take([&] { ++ran; }));  // there is room for one
  EXPECT_FALSE(lane->drain(std::chrono::milliseconds(20)));
  EXPECT_EQ(ran, 0);
  first();
  EXPECT_EQ(ran, 2);
  EXPECT_TRUE(lane->drain(seconds(0)));
}

TEST(Threads, StopTellsOfAJobThatDoesNotEnd) {
  std::promise<void> gate;
  Threads threads(1);
  threads.run([open = gate.get_future().share()] { open.wait(); });
  EXPECT_FALSE(threads.stop(std::chrono::milliseconds(20)));
  gate.set_value();
  EXPECT_TRUE(threads.stop(seconds(5)));
}

}  // namespace
}  // namespace loopfs::base
