#include "sys/stranger_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "sys/control_message.h"
#include "sys/uapi.h"

namespace loopfs::sys {
namespace {

using std::chrono::steady_clock;

constexpr int kDeadline = 5000;  // ms

std::pair<Fd, Fd> stream_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

std::pair<Fd, Fd> pipe_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

bool send_with(int socket, const char* text, int fd, int flags = 0) {
  iovec vector{const_cast<char*>(text), std::strlen(text)};
  ControlMessage<1> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.attach(header, std::span(&fd, 1));
  return ::sendmsg(socket, &header, MSG_NOSIGNAL | flags) >= 0;
}

TEST(StrangerSocket, RefusesDescriptorsWhereTheKernelCan) {
  auto [here, there] = stream_pair();
  auto [reader, writer] = pipe_pair();
  if (!refuse_descriptors(here.get())) GTEST_SKIP() << "needs SO_PASSRIGHTS of Linux 6.16";
  EXPECT_FALSE(send_with(there.get(), "x", writer.get()));
  EXPECT_EQ(errno, EPERM);
  EXPECT_FALSE(send_with(there.get(), "x", writer.get(), MSG_OOB));
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::send(there.get(), "plain", 5, 0), 5);
}

TEST(StrangerSocket, ShowsWhatWaitsAndLeavesIt) {
  auto [here, there] = stream_pair();
  auto [reader, writer] = pipe_pair();
  char buffer[16];
  EXPECT_EQ(peek(here.get(), buffer).error().code, EAGAIN);
  ASSERT_EQ(::send(there.get(), "ab", 2, 0), 2);
  for (int i = 0; i < 2; ++i) {
    const auto waiting = peek(here.get(), buffer);
    ASSERT_TRUE(waiting);
    EXPECT_EQ(waiting->bytes, 2U);
    EXPECT_FALSE(waiting->descriptors);
  }
  ASSERT_TRUE(send_with(there.get(), "c", writer.get()));
  EXPECT_TRUE(peek(here.get(), buffer)->descriptors);
  there.reset();
  EXPECT_TRUE(peek(here.get(), buffer)->descriptors);
}

TEST(StrangerSocket, IsEmptiedUpToADescriptor) {
  auto [here, there] = stream_pair();
  ASSERT_EQ(::send(there.get(), "plain", 5, 0), 5);
  EXPECT_TRUE(empty_for_close(here.get()));
  EXPECT_EQ(::send(there.get(), "x", 1, MSG_NOSIGNAL), -1) << "it was ended";
  for (const int flags : {0, int{MSG_OOB}}) {
    auto [near, far] = stream_pair();
    auto [reader, writer] = pipe_pair();
    (void)refuse_descriptors(near.get());
    const int on = 1;
    (void)::setsockopt(near.get(), SOL_SOCKET, SO_PASSRIGHTS, &on, sizeof on);  // as on an older kernel
    ASSERT_EQ(::send(far.get(), "plain", 5, 0), 5);
    ASSERT_TRUE(send_with(far.get(), "x", writer.get(), flags));
    ASSERT_EQ(::send(far.get(), "plain", 5, 0), 5);
    writer.reset();
    EXPECT_FALSE(empty_for_close(near.get()));
    EXPECT_FALSE(empty_for_close(near.get()));
    pollfd entry{reader.get(), 0, 0};
    EXPECT_EQ(::poll(&entry, 1, 0), 0) << "the descriptor was closed here";
  }
}

}  // namespace
}  // namespace loopfs::sys
