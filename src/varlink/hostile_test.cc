// Callers that break the rules: each costs its own connection and nothing else.

#include <sys/resource.h>

#include <future>
#include <stdexcept>

#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

constexpr char kEcho[] = R"({"method":"org.example.test.Echo"})";
constexpr char kEchoed[] = R"({"parameters":{}})";

class Hostile : public testing::Test {
 protected:
  static Interface interface() {
    Interface interface = echo_interface();
    interface.methods["Throw"] = [](Call&) { throw std::runtime_error("handler"); };
    interface.methods["ThrowInt"] = [](Call&) { throw 1; };
    interface.methods["Forget"] = [](Call&) {};
    interface.methods["Length"] = [](Call& call) {
      (void)call.reply({{"length", call.parameters().at("text").get<std::string>().size()}});
    };
    return interface;
  }
  void TearDown() override {
    Fd other = service_.connect_raw();
    EXPECT_EQ(answer_to(other.get(), kEcho), kEchoed) << "the others are served";
  }
  std::string answer(const std::string& text) const { return answer_to(service_.connect_raw().get(), text); }

  TestService service_{{interface()}};
};

TEST_F(Hostile, WhatIsNoCallClosesTheConnection) {
  for (const char* text : {"", "x", "[]", "{}", "{\"method\":1}", "{\"method\":null}", "{\"parameters\":{}}",
                           "{\"method\":\"a.b\"", R"({"method":"org.example.test.Echo","parameters":[]})",
                           R"({"method":"org.example.test.Echo","parameters":1})",
                           R"({"method":"org.example.test.Echo","more":1})",
                           R"({"method":"org.example.test.Echo","oneway":"yes"})",
                           R"({"method":"org.example.test.Echo","more":true,"oneway":true})",
                           "{\"method\":\"org.example.test.Echo\xff\"}",
                           R"({"method":"org.example.test.Echo","parameters":{"a":"\u0000"}})"}) {
    EXPECT_EQ(answer(text), "closed") << text;
  }
}

TEST_F(Hostile, NullAndUnknownMembersAreNoOffence) {
  EXPECT_EQ(answer(R"({"method":"org.example.test.Echo","parameters":null,"more":null,"x":[1]})"), kEchoed);
}

TEST_F(Hostile, DeepNestingClosesTheConnection) {
  EXPECT_EQ(answer(R"({"method":"org.example.test.Echo","parameters":{"a":)" + std::string(60000, '[')),
            "closed");
  EXPECT_EQ(answer(R"({"method":"org.example.test.Echo","parameters":{"a":)" + std::string(30000, '[') +
                   std::string(30000, ']') + "}}"),
            "closed");
}

TEST_F(Hostile, AMessageWithoutEndClosesTheConnection) {
  Fd raw = service_.connect_raw();
  const std::string block(8192, 'x');
  int blocks = 0;
  while (blocks < 1000 && write_raw(raw.get(), block)) ++blocks;
  EXPECT_LT(blocks, 1000);
}

TEST_F(Hostile, HalfAMessageHoldsUpNobodyElse) {
  Fd raw = service_.connect_raw();
  ASSERT_TRUE(write_raw(raw.get(), "{\"method\":"));
  EXPECT_EQ(answer(kEcho), kEchoed);
  EXPECT_EQ(answer_to(raw.get(), "\"org.example.test.Echo\"}"), kEchoed);
}

TEST_F(Hostile, ACallerWhoLeavesEarlyIsNoSignal) {
  for (int i = 0; i < 7; ++i) {  // fewer than the bound: the server need not have noticed that they left
    Fd raw = service_.connect_raw();
    (void)write_raw(raw.get(), framed(kEcho) + framed(kEcho) + framed(kEcho));
  }
}

TEST_F(Hostile, DescriptorsAreNotTaken) {
  auto [reader, writer] = pipe_pair();
  Fd raw = service_.connect_raw();
  if (write_raw(raw.get(), framed(kEcho), {writer.get()})) GTEST_SKIP() << "needs Linux 6.16";
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(answer_to(raw.get(), kEcho), kEchoed) << "the connection goes on";
}

TEST_F(Hostile, AByteOutOfBandIsAByte) {
  Fd raw = service_.connect_raw();
  ASSERT_EQ(::send(raw.get(), " ", 1, MSG_OOB), 1);
  EXPECT_EQ(answer_to(raw.get(), kEcho), kEchoed);
}

// As on kernels that let descriptors in: the connection is made before the server is there to refuse them.
TEST(Descriptors, EndTheConnectionAndAreClosedElsewhere) {
  std::promise<Fd> closed;
  std::weak_ptr<int> share;
  auto [reader, writer] = pipe_pair();
  Fd raw(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  TestService service(
      {echo_interface()},
      [&](const Peer&) -> Result<Admission> {
        auto made = std::make_shared<int>();
        share = made;
        return Admission{nullptr, std::move(made)};
      },
      [&](Server::Options& options) {
        sockaddr_un address{};
        socklen_t size = sizeof address;
        auto* any = reinterpret_cast<sockaddr*>(&address);
        ASSERT_EQ(::getsockname(options.socket.get(), any, &size), 0);
        ASSERT_EQ(::connect(raw.get(), any, size), 0);
        ASSERT_TRUE(write_raw(raw.get(), "{"));
        ASSERT_TRUE(write_raw(raw.get(), "}", {writer.get()}));
        writer.reset();
        options.close_elsewhere = [&](Fd fd) { closed.set_value(std::move(fd)); };
      });
  auto future = closed.get_future();
  ASSERT_EQ(future.wait_for(std::chrono::milliseconds(kDeadline)), std::future_status::ready);
  Fd socket = future.get();
  EXPECT_TRUE(wait_for(raw.get(), POLLHUP));
  pollfd entry{reader.get(), 0, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0) << "the server has closed the descriptor itself";
  EXPECT_TRUE(share.lock()) << "who sends descriptors has one connection less";
  socket.reset();
  EXPECT_TRUE(wait_for(reader.get(), POLLHUP));
}

TEST_F(Hostile, HandlersThatFailEndTheConnectionOnly) {
  EXPECT_EQ(answer(R"({"method":"org.example.test.Throw"})"), "closed");
  EXPECT_EQ(answer(R"({"method":"org.example.test.ThrowInt"})"), "closed");
  EXPECT_EQ(answer(R"({"method":"org.example.test.Forget"})"), "closed");
}

TEST_F(Hostile, ParametersOfAnotherTypeAreInvalid) {
  const std::string invalid =
      R"({"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"parameters"}})";
  EXPECT_EQ(answer(R"({"method":"org.example.test.Length","parameters":{"text":"abc"}})"),
            R"({"parameters":{"length":3}})");
  EXPECT_EQ(answer(R"({"method":"org.example.test.Length"})"), invalid);
  EXPECT_EQ(answer(R"({"method":"org.example.test.Length","parameters":{"text":[1]}})"), invalid);
}

}  // namespace
}  // namespace loopfs::varlink
