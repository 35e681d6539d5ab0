#include "varlink/channel.h"

#include <thread>

#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

TEST(Channel, CarriesMessagesOfAllSizesInOrder) {
  auto [here, there] = channel_pair();
  for (size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, kMaxMessage}) {
    std::thread sender([&, &end = here] { EXPECT_TRUE(end.send(std::string(size, 'x'))); });
    auto frame = there.receive();
    sender.join();
    ASSERT_TRUE(frame && *frame) << size;
    EXPECT_EQ((*frame)->text, std::string(size, 'x'));
  }
}

TEST(Channel, SplitsPipelinedMessagesAndJoinsPartialOnes) {
  auto [here, there] = channel_pair();
  ASSERT_TRUE(write_raw(here.fd(), std::string_view("one\0tw", 6)));
  EXPECT_EQ(there.receive().value()->text, "one");
  ASSERT_TRUE(write_raw(here.fd(), std::string_view("o\0", 2)));
  EXPECT_EQ(there.receive().value()->text, "two");
}

TEST(Channel, DescriptorsComeWithTheirMessage) {
  auto [here, there] = channel_pair();
  auto [reader, writer] = pipe_pair();
  const int fds[] = {reader.get(), writer.get()};
  ASSERT_TRUE(here.send("none"));
  ASSERT_TRUE(here.send("two", fds));
  ASSERT_TRUE(here.send("none again"));
  EXPECT_TRUE(there.receive().value()->fds.empty());
  auto two = there.receive();
  ASSERT_TRUE(two && *two);
  EXPECT_EQ((*two)->text, "two");
  ASSERT_EQ((*two)->fds.size(), 2u);
  EXPECT_EQ(::fcntl((*two)->fds[0].get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::write((*two)->fds[1].get(), "x", 1), 1);
  char byte;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_TRUE(there.receive().value()->fds.empty());
}

TEST(Channel, AnEndBetweenMessagesIsNoneAndWithinOneAnError) {
  auto [here, there] = channel_pair();
  ASSERT_TRUE(write_raw(here.fd(), std::string_view("one\0tw", 6)));
  here.close();
  EXPECT_EQ(there.receive().value()->text, "one");
  EXPECT_EQ(there.receive().error().code, EPROTO);
  auto [near, far] = channel_pair();
  near.close();
  EXPECT_FALSE(far.receive().value());
}

TEST(Channel, AMessageOverTheLimitIsRefused) {
  auto [here, there] = channel_pair();
  EXPECT_EQ(here.send(std::string(kMaxMessage + 1, 'x')).error().code, EMSGSIZE);
  std::thread sender([&end = here] { (void)write_raw(end.fd(), std::string(kMaxMessage + 1, 'x')); });
  EXPECT_EQ(there.receive().error().code, EMSGSIZE);
  there.close();
  sender.join();
}

TEST(Channel, NineDescriptorsAreRefusedAndClosed) {
  for (bool at_once : {true, false}) {
    auto [here, there] = channel_pair();
    auto [reader, writer] = pipe_pair();
    EXPECT_EQ(here.send("x", std::vector<int>(kMaxFds + 1, writer.get())).error().code, EMSGSIZE);
    if (at_once) {
      ASSERT_TRUE(write_raw(here.fd(), framed("x"), std::vector<int>(kMaxFds + 1, writer.get())));
    } else {
      ASSERT_TRUE(write_raw(here.fd(), "x", std::vector<int>(kMaxFds, writer.get())));
      ASSERT_TRUE(write_raw(here.fd(), framed("x"), {writer.get()}));
    }
    EXPECT_EQ(there.receive().error().code, EMSGSIZE);
    writer.reset();
    EXPECT_TRUE(wait_for(reader.get(), POLLHUP)) << "a copy of the other end is still open";
  }
}

TEST(Channel, RefusedDescriptorsStayInTheSocket) {
  auto [here, there] = channel_pair();
  auto [reader, writer] = pipe_pair();
  Channel end(there.release(), Descriptors::kRefuse);
  ASSERT_TRUE(here.send("plain"));
  EXPECT_EQ(end.receive().value()->text, "plain");
  const int fd = writer.get();
  ASSERT_TRUE(here.send("with one", std::span(&fd, 1)));
  writer.reset();
  EXPECT_EQ(end.receive().error().code, EPERM);
  pollfd entry{reader.get(), 0, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
  end.close();
  EXPECT_TRUE(wait_for(reader.get(), POLLHUP));
}

TEST(Channel, AWriterWhoDoesNotFinishTimesOut) {
  auto [here, there] = channel_pair();
  EXPECT_EQ(there.receive(std::chrono::milliseconds(10)).error().code, ETIMEDOUT);
  ASSERT_TRUE(write_raw(here.fd(), "half"));
  EXPECT_EQ(there.receive(std::chrono::milliseconds(10)).error().code, ETIMEDOUT);
  ASSERT_TRUE(here.send(" a message"));
  EXPECT_TRUE(there.receive(std::chrono::milliseconds(kDeadline)));
}

TEST(Channel, AReaderWhoDoesNotReadTimesOut) {
  auto [here, there] = channel_pair();
  Result<void> sent;
  const std::string text(kMaxMessage, 'x');
  for (int i = 0; i < 1000 && sent; ++i) sent = here.send(text, {}, std::chrono::milliseconds(20));
  EXPECT_EQ(sent.error().code, ETIMEDOUT);
  EXPECT_EQ(here.send("x").error().code, EPIPE) << "the connection is shut down";
}

TEST(Channel, AClosedPeerIsEpipeWithoutASignal) {
  auto [here, there] = channel_pair();
  there.close();
  EXPECT_EQ(here.send("x").error().code, EPIPE);
}

TEST(Channel, ABadDescriptorSendsNothing) {
  auto [here, there] = channel_pair();
  const int fds[] = {-1};
  EXPECT_EQ(here.send("bad", fds).error().code, EBADF);
  ASSERT_TRUE(here.send("good"));
  EXPECT_EQ(there.receive().value()->text, "good");
}

TEST(Channel, ShutDownWakesAReceiver) {
  auto [here, there] = channel_pair();
  std::thread receiver([&end = there] { EXPECT_FALSE(end.receive().value()); });
  there.shut_down();
  receiver.join();
}

}  // namespace
}  // namespace loopfs::varlink
