// Calls with "more", their ends, and the ends of servers in the middle of one.

#include <atomic>
#include <future>

#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

// Count: "to" numbers; without "to" it tells once that it started, and then waits for its caller to go.
class Stream : public testing::Test {
 protected:
  Interface interface() {
    Interface interface = echo_interface();
    interface.methods["Count"] = [this](Call& call) { count(call); };
    interface.methods["Flood"] = [this](Call& call) { flood(call); };
    return interface;
  }
  void count(Call& call) {
    if (!call.wants_more()) {
      EXPECT_EQ(call.reply_continues(nullptr).error().code, EINVAL);
      return void(call.expected_more());
    }
    const int to = call.parameters().value("to", 0);
    for (int i = 1; i < to; ++i) EXPECT_TRUE(call.reply_continues({{"n", i}}));
    if (to > 0) {
      EXPECT_TRUE(call.reply({{"n", to}}));
      EXPECT_EQ(call.reply().error().code, EINVAL) << "answered twice";
      return;
    }
    EXPECT_FALSE(call.peer_gone());  // the caller goes, or stops the server, once it has the first reply
    EXPECT_TRUE(call.reply_continues({{"n", 0}}));
    pollfd entry{call.socket_fd(), 0, 0};
    EXPECT_EQ(::poll(&entry, 1, kDeadline), 1);
    EXPECT_TRUE(call.peer_gone());
    gone_.set_value();
  }
  void flood(Call& call) {
    const Json much = {{"text", std::string(60000, 'x')}};
    while (call.reply_continues(much)) ++sent_;
    gone_.set_value();
  }
  bool caller_seen_gone() {
    return gone_.get_future().wait_for(std::chrono::milliseconds(kDeadline)) == std::future_status::ready;
  }

  std::promise<void> gone_;
  std::atomic<int> sent_{0};
  TestService service_{{interface()}};
};

TEST_F(Stream, HandsOnEveryReply) {
  Client client = service_.connect();
  std::vector<int> numbers;
  auto streamed = client.call_more("org.example.test.Count", {{"to", 100}}, [&](Reply reply) {
    numbers.push_back(reply.parameters["n"]);
    return true;
  });
  ASSERT_TRUE(streamed) << streamed.error().message();
  EXPECT_EQ(numbers.size(), 100u);
  EXPECT_EQ(numbers.back(), 100);
  EXPECT_TRUE(client.call("org.example.test.Echo")) << "the connection goes on";
}

TEST_F(Stream, NeedsMore) {
  Client client = service_.connect();
  auto refused = client.call("org.example.test.Count", {{"to", 1}});
  EXPECT_EQ(refused.error().what, kExpectedMore);
  EXPECT_EQ(refused.error().code, EINVAL);
}

TEST_F(Stream, ACallerWhoHasEnoughIsGone) {
  Client client = service_.connect();
  int replies = 0;
  ASSERT_TRUE(
      client.call_more("org.example.test.Count", nullptr, [&](const Reply&) { return ++replies < 1; }));
  EXPECT_EQ(replies, 1);
  EXPECT_TRUE(caller_seen_gone());
  EXPECT_EQ(client.call("org.example.test.Echo").error().code, EPIPE);
}

TEST_F(Stream, StopEndsAStreamThatWaits) {
  Client client = service_.connect();
  auto streamed = client.call_more("org.example.test.Count", nullptr, [&](const Reply&) {
    service_.server().stop();
    return true;
  });
  EXPECT_TRUE(caller_seen_gone());
  EXPECT_EQ(streamed.error().code, EPIPE);
}

TEST_F(Stream, StopEndsAStreamThatNobodyReads) {
  Fd raw = service_.connect_raw();
  ASSERT_TRUE(write_raw(raw.get(), framed(R"({"method":"org.example.test.Flood","more":true})")));
  ASSERT_TRUE(wait_for(raw.get(), POLLIN));
  const auto before = std::chrono::steady_clock::now();
  service_.server().stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, kSendTimeout / 2);
  EXPECT_TRUE(caller_seen_gone());
  EXPECT_LT(sent_, 100);
}

TEST_F(Stream, StopEndsIdleConnectionsAndHalfMessages) {
  Fd idle = service_.connect_raw();
  Fd half = service_.connect_raw();
  EXPECT_EQ(answer_to(idle.get(), R"({"method":"org.example.test.Echo"})"), R"({"parameters":{}})");
  ASSERT_TRUE(write_raw(half.get(), "{"));
  service_.server().stop();
  EXPECT_TRUE(wait_for(idle.get(), POLLHUP));
  EXPECT_TRUE(wait_for(half.get(), POLLHUP));
}

}  // namespace
}  // namespace loopfs::varlink
