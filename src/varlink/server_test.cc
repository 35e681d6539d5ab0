#include "varlink/server.h"

#include <sys/syscall.h>

#include <thread>

#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

TEST(Server, DescribesItself) {
  TestService service({echo_interface()});
  Client client = service.connect();
  auto info = client.call("org.varlink.service.GetInfo");
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->parameters["product"], "Product");
  EXPECT_EQ(info->parameters["interfaces"], Json({"org.example.test", "org.varlink.service"}));
  const char* method = "org.varlink.service.GetInterfaceDescription";
  auto description = client.call(method, {{"interface", "org.example.test"}});
  ASSERT_TRUE(description);
  EXPECT_EQ(description->parameters["description"], "interface org.example.test\n");
  EXPECT_TRUE(client.call(method, {{"interface", "org.varlink.service"}}));
  EXPECT_EQ(client.call(method, {{"interface", "org.example.none"}}).error().what, kInterfaceNotFound);
  EXPECT_EQ(client.call(method).error().what, kInvalidParameter);
  EXPECT_EQ(client.call(method, {{"interface", 1}}).error().what, kInvalidParameter);
}

TEST(Server, AnswersWithTheStandardErrors) {
  Interface interface = echo_interface();
  interface.methods["Later"] = nullptr;
  TestService service({interface});
  Client client = service.connect();
  EXPECT_EQ(client.call("org.example.none.Echo").error().what, kInterfaceNotFound);
  EXPECT_EQ(client.call("org.example.test.None").error().what, kMethodNotFound);
  EXPECT_EQ(client.call("org.example.test.None").error().code, EOPNOTSUPP);
  EXPECT_EQ(client.call("org.varlink.service.None").error().what, kMethodNotFound);
  EXPECT_EQ(client.call("org.example.test.Later").error().what, kMethodNotImplemented);
  EXPECT_EQ(client.call("Echo").error().what, kInvalidParameter);
  EXPECT_EQ(client.call("").error().what, kInvalidParameter);
  EXPECT_EQ(client.call(".").error().what, kInterfaceNotFound);
  Fd raw = service.connect_raw();
  EXPECT_EQ(
      answer_to(raw.get(), R"({"method":"org.example.test.Echo","upgrade":true})"),
      R"({"error":"org.varlink.service.MethodNotImplemented","parameters":{"method":"org.example.test.Echo"}})");
  EXPECT_TRUE(client.call("org.example.test.Echo")) << "the connection outlives errors";
}

TEST(Server, TellsTheHandlerWhoCalls) {
  Interface interface = echo_interface();
  interface.methods["Who"] = [](Call& call) {
    (void)call.reply({{"pid", call.peer().pid},
                      {"uid", call.peer().uid},
                      {"gone", call.peer_gone()},
                      {"pidfd", call.peer().pidfd.valid()},
                      {"method", call.method()}});
  };
  TestService service({interface});
  Client client = service.connect();
  auto who = client.call("org.example.test.Who");
  ASSERT_TRUE(who);
  EXPECT_EQ(who->parameters, Json({{"pid", ::getpid()},
                                   {"uid", ::geteuid()},
                                   {"gone", false},
                                   {"pidfd", true},
                                   {"method", "org.example.test.Who"}}));
}

TEST(Server, CarriesDescriptorsBothWays) {
  Interface interface = echo_interface();
  interface.methods["Swap"] = [](Call& call) {
    auto fds = call.take_fds();
    ASSERT_EQ(fds.size(), 2u);
    const int swapped[] = {fds[1].get(), fds[0].get()};
    (void)call.reply(nullptr, swapped);
  };
  TestService service({interface});
  Client client = service.connect();
  auto [reader, writer] = pipe_pair();
  const int fds[] = {reader.get(), writer.get()};
  auto reply = client.call("org.example.test.Swap", nullptr, fds);
  ASSERT_TRUE(reply) << reply.error().message();
  ASSERT_EQ(reply->fds.size(), 2u);
  EXPECT_EQ(::fcntl(reply->fds[0].get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::write(reply->fds[0].get(), "x", 1), 1);
}

TEST(Server, ClosesDescriptorsNobodyTakes) {
  TestService service({echo_interface()});
  Client client = service.connect();
  auto [reader, writer] = pipe_pair();
  const int fds[] = {writer.get()};
  ASSERT_TRUE(client.call("org.example.test.Echo", nullptr, fds));
  ASSERT_FALSE(client.call("org.example.test.None", nullptr, fds));
  writer.reset();
  EXPECT_TRUE(wait_for(reader.get(), POLLHUP));
}

TEST(Server, AnswersPipelinedCallsInOrderAndOnewayCallsNot) {
  TestService service({echo_interface()});
  Fd raw = service.connect_raw();
  ASSERT_TRUE(write_raw(raw.get(), framed(R"({"method":"org.example.test.Echo","parameters":{"n":1}})") +
                                       framed(R"({"method":"org.example.test.Echo","oneway":true})") +
                                       framed(R"({"method":"none.None","oneway":true})") +
                                       framed(R"({"method":"org.example.test.Echo","parameters":{"n":2}})")));
  Channel channel(std::move(raw));
  EXPECT_EQ(channel.receive().value()->text, R"({"parameters":{"n":1}})");
  EXPECT_EQ(channel.receive().value()->text, R"({"parameters":{"n":2}})");
}

TEST(Server, AHalfClosedCallerStillGetsItsAnswer) {
  TestService service({echo_interface()});
  Fd raw = service.connect_raw();
  ASSERT_TRUE(write_raw(raw.get(), framed(R"({"method":"org.example.test.Echo"})")));
  ASSERT_EQ(::shutdown(raw.get(), SHUT_WR), 0);
  Channel channel(std::move(raw));
  EXPECT_EQ(channel.receive().value()->text, R"({"parameters":{}})");
  EXPECT_FALSE(channel.receive().value());
}

TEST(Server, TurnsConnectionsOverTheBoundAwayUntilOneEnds) {
  TestService service({echo_interface()}, /*most=*/1);
  Client first = service.connect();
  ASSERT_TRUE(first.call("org.example.test.Echo"));
  Client second = service.connect();
  auto refused = second.call("org.example.test.Echo");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_EQ(refused.error().what, "too many connections");
  first = Client(Fd());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kDeadline);
  while (!service.connect().call("org.example.test.Echo")) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
}

TEST(Server, BoundsTheConnectionsOfAUserButNotRoots) {
  TestService service({echo_interface()}, /*most=*/16, /*most_of_a_uid=*/1);
  const bool root = ::geteuid() == 0;
  const uid_t user = root ? 65534 : ::geteuid();
  // The raw system call changes this thread only.
  std::thread([&] {
    ASSERT_TRUE(!root || ::syscall(SYS_setresuid, -1, user, -1) == 0);
    Client first = service.connect();
    EXPECT_TRUE(first.call("org.example.test.Echo"));
    Client second = service.connect();
    auto refused = second.call("org.example.test.Echo");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().what, "too many connections of this user");
    EXPECT_TRUE(first.call("org.example.test.Echo"));
  }).join();
  if (!root) GTEST_SKIP() << "the exemption of root needs root";
  Client first = service.connect();
  Client second = service.connect();
  EXPECT_TRUE(first.call("org.example.test.Echo"));
  EXPECT_TRUE(second.call("org.example.test.Echo"));
}

TEST(Server, RefusesOtherSocketsAndInterfacesTwice) {
  Server::Options options;
  EXPECT_EQ(Server::create(std::move(options)).error().code, EBADF);
  Server::Options datagram;
  datagram.socket = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(Server::create(std::move(datagram)).error().code, EINVAL);
  Server::Options idle;
  idle.socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(Server::create(std::move(idle)).error().code, EINVAL);
  EXPECT_EQ(Dispatcher::create({}, {echo_interface(), echo_interface()}).error().code, EINVAL);
  EXPECT_EQ(Dispatcher::create({}, {{"org.varlink.service", "", {}}}).error().code, EINVAL);
}

TEST(Server, StopsOnceAndForAll) {
  TestService service({echo_interface()});
  Client client = service.connect();
  ASSERT_TRUE(client.call("org.example.test.Echo"));
  EXPECT_EQ(service.server().start().error().code, EALREADY);
  service.server().stop();
  service.server().stop();
  EXPECT_FALSE(client.call("org.example.test.Echo"));
  EXPECT_EQ(Client::connect(service.path()).error().code, ECONNREFUSED);
  EXPECT_EQ(service.server().start().error().code, EALREADY);
}

}  // namespace
}  // namespace loopfs::varlink
