#include "varlink/server.h"

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

struct Guest : Caller {
  explicit Guest(int number_) : number(number_) {}
  const int number;
};

TEST(Server, KnowsACallerAsHeWasAdmitted) {
  Interface interface = echo_interface();
  interface.methods["Number"] = [](Call& call) {
    (void)call.reply({{"number", static_cast<const Guest*>(call.caller())->number}});
  };
  int guests = 0;
  TestService service({interface}, [&](const Peer& peer) -> Result<Admission> {
    EXPECT_EQ(peer.pid, ::getpid());
    return Admission{std::make_shared<const Guest>(++guests), nullptr};
  });
  Client first = service.connect();
  EXPECT_EQ(first.call("org.example.test.Number").value().parameters["number"], 1);
  Client second = service.connect();
  EXPECT_EQ(second.call("org.example.test.Number").value().parameters["number"], 2);
  EXPECT_EQ(first.call("org.example.test.Number").value().parameters["number"], 1) << "asked once";
  EXPECT_EQ(guests, 2);
}

TEST(Server, TurnsAwayWhoIsNotAdmittedUntilAConnectionHasEnded) {
  std::weak_ptr<int> only;
  TestService service({echo_interface()}, [&](const Peer&) -> Result<Admission> {
    if (only.lock()) return fail(EBUSY, "one is here");
    auto share = std::make_shared<int>();
    only = share;
    return Admission{nullptr, std::move(share)};
  });
  Client first = service.connect();
  ASSERT_TRUE(first.call("org.example.test.Echo"));
  Client second = service.connect();
  auto refused = second.call("org.example.test.Echo");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_EQ(refused.error().what, "one is here");
  EXPECT_TRUE(first.call("org.example.test.Echo"));
  first = Client(Fd());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kDeadline);
  while (!service.connect().call("org.example.test.Echo")) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
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
