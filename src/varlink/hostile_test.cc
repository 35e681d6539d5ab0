// Callers that break the rules: each costs its own connection and nothing else.

#include <sys/resource.h>

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

TEST_F(Hostile, DescriptorsOfRefusedMessagesAreClosed) {
  auto [reader, writer] = pipe_pair();
  EXPECT_EQ(answer_to(service_.connect_raw().get(), "x", {writer.get()}), "closed");
  EXPECT_EQ(answer_to(service_.connect_raw().get(), kEcho, std::vector<int>(9, writer.get())), "closed");
  EXPECT_EQ(answer_to(service_.connect_raw().get(), kEcho, std::vector<int>(8, writer.get())), kEchoed);
  Fd half = service_.connect_raw();
  ASSERT_TRUE(write_raw(half.get(), "{", {writer.get()}));
  half.reset();
  writer.reset();
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
