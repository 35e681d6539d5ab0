#include "varlink/client.h"

#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

// The client's error if the service answers with this; its call is left unread.
Error error_for(const std::string& answer) {
  auto [here, there] = channel_pair();
  EXPECT_TRUE(write_raw(there.fd(), framed(answer)));
  Client client(Fd(::fcntl(here.fd(), F_DUPFD_CLOEXEC, 0)));
  auto reply = client.call("a.B");
  return reply ? Error{0, "no error"} : reply.error();
}

TEST(Client, SendsACallAndReadsTheReply) {
  auto [here, there] = channel_pair();
  ASSERT_TRUE(write_raw(there.fd(), framed(R"({"parameters":{"a":1}})")));
  Client client(Fd(::fcntl(here.fd(), F_DUPFD_CLOEXEC, 0)));
  auto reply = client.call("org.example.test.Echo", {{"b", 2}});
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->parameters, Json({{"a", 1}}));
  EXPECT_EQ(there.receive().value()->text, R"({"method":"org.example.test.Echo","parameters":{"b":2}})");
}

TEST(Client, TakesErrnoAndMessageFromTheError) {
  Error error = error_for(R"({"error":"io.x.E","parameters":{"errno":16,"message":"it is in use"}})");
  EXPECT_EQ(error.code, EBUSY);
  EXPECT_EQ(error.what, "it is in use");
}

TEST(Client, HasACodeForEveryError) {
  EXPECT_EQ(error_for(R"({"error":"io.x.E"})").code, EPROTO);
  EXPECT_EQ(error_for(R"({"error":"io.x.E"})").what, "io.x.E");
  for (const char* number :
       {"0", "-1", "4096", "99999999999", "18446744073709551615", "\"16\"", "1.5", "null"}) {
    const Error error = error_for(fmt::format(R"({{"error":"io.x.E","parameters":{{"errno":{}}}}})", number));
    EXPECT_EQ(error.code, EPROTO) << number;
  }
  EXPECT_EQ(error_for(R"({"error":"org.varlink.service.InvalidParameter"})").code, EINVAL);
  EXPECT_EQ(error_for(R"({"error":"org.varlink.service.MethodNotFound"})").code, EOPNOTSUPP);
}

TEST(Client, RefusesWhatIsNoAnswer) {
  EXPECT_EQ(error_for("x").code, EBADMSG);
  EXPECT_EQ(error_for("[]").code, EBADMSG);
  EXPECT_EQ(error_for(R"({"parameters":1})").code, EPROTO);
  EXPECT_EQ(error_for(R"({"error":1})").code, EPROTO);
  EXPECT_EQ(error_for(R"({"continues":true})").code, EPROTO);
}

TEST(Client, ReadsWhatAServiceSaidBeforeItClosed) {
  auto [here, there] = channel_pair();
  ASSERT_TRUE(there.send(R"({"error":"io.x.Busy","parameters":{"errno":16}})"));
  there.close();
  Client client(Fd(::fcntl(here.fd(), F_DUPFD_CLOEXEC, 0)));
  EXPECT_EQ(client.call("a.B").error().code, EBUSY);
  EXPECT_EQ(client.call("a.B").error().code, EPIPE);
}

TEST(Client, SendsNothingItCannotSay) {
  auto [here, there] = channel_pair();
  Client client(Fd(::fcntl(here.fd(), F_DUPFD_CLOEXEC, 0)));
  EXPECT_EQ(client.call("a.B", {{"path", "\xff"}}).error().code, EILSEQ);
  EXPECT_EQ(client.call("a.B", 1).error().code, EINVAL);
  EXPECT_EQ(client.call("a.B", {{"x", std::string(kMaxMessage, 'x')}}).error().code, EMSGSIZE);
  char byte;
  EXPECT_EQ(::recv(there.fd(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST(Client, ConnectTellsWhyNot) {
  EXPECT_EQ(Client::connect("/nonexistent/socket").error().code, ENOENT);
  EXPECT_EQ(Client::connect(std::string(200, 'x')).error().code, ENAMETOOLONG);
  TestService service({echo_interface()});
  auto client = Client::connect(service.path());
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_TRUE(client->call("org.example.test.Echo"));
}

}  // namespace
}  // namespace loopfs::varlink
