#include "fusefs/hub.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

namespace loopfs::fusefs {
namespace {

using std::chrono::seconds;

constexpr size_t kRequest = 4096;  // bytes; more than a quarter of the sender's buffer

// In the place of /dev/fuse. Its sender can wait until what it has sent is read.
struct Channel {
  Channel() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel = Fd(ends[0]);
    server = Fd(ends[1]);
    const int least = 0;
    EXPECT_EQ(::setsockopt(kernel.get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
  }
  void send() const {
    const std::vector<std::byte> request(kRequest);
    EXPECT_EQ(::write(kernel.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
  }
  bool wait_until_read() const {
    pollfd entry{kernel.get(), POLLOUT, 0};
    return ::poll(&entry, 1, 5000) == 1;
  }
  Fd kernel, server;
};

// Of the calling thread and those that it starts.
class OneProcessor {
 public:
  OneProcessor() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(::sched_getcpu(), &here);
    ::sched_setaffinity(0, sizeof here, &here);
  }
  ~OneProcessor() { ::sched_setaffinity(0, sizeof before_, &before_); }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

 private:
  cpu_set_t before_;
};

// Its threads have a low priority: whoever they wake on their processor runs before they go on.
std::unique_ptr<Hub> hub_of_slow_threads(base::Threads& threads) {
  std::unique_ptr<Hub> hub;
  std::thread([&] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
    auto made = Hub::create(&threads);
    if (made) hub = std::move(*made);
  }).join();
  return hub;
}

// The end of an instance: no more is read from its channel, its lane is drained, and then it is destroyed.
TEST(Hub, WhatHasBeenReadIsOnTheLaneWhenRemoveReturns) {
  const OneProcessor one;
  for (int round = 0; round < 20; ++round) {
    base::Threads threads(8);
    const auto hub = hub_of_slow_threads(threads);
    ASSERT_TRUE(hub);
    const Channel channel;
    const auto lane = base::Lane::create(&threads, 2);
    std::atomic<bool> alive = true;
    std::atomic<int> served = 0, too_late = 0;
    const auto serve = [&](std::span<std::byte> request) {
      EXPECT_EQ(request.size(), kRequest);
      ++(alive ? served : too_late);
    };
    ASSERT_TRUE(hub->add(channel.server.get(), {.lane = lane, .serve = serve, .gone = [] {}}));
    channel.send();
    ASSERT_TRUE(channel.wait_until_read());
    hub->remove(channel.server.get());
    EXPECT_TRUE(lane->drain(seconds(5)));
    alive = false;
    hub->stop();
    EXPECT_TRUE(threads.stop(seconds(5)));
    EXPECT_EQ(served, 1) << "in round " << round;
    EXPECT_EQ(too_late, 0) << "in round " << round;
  }
}

}  // namespace
}  // namespace loopfs::fusefs
