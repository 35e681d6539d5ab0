#include "sys/message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace loopfs::sys {
namespace {

TEST(Message, CarriesBytesAndDescriptors) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::byte bytes[] = {std::byte{1}, std::byte{2}};
  const int fds[] = {file.get()};
  ASSERT_TRUE(send_message(ends->first.get(), bytes, fds));
  auto message = receive_message(ends->second.get());
  ASSERT_TRUE(message && *message);
  EXPECT_EQ((*message)->bytes.size(), 2u);
  ASSERT_EQ((*message)->fds.size(), 1u);
  EXPECT_EQ(::fcntl((*message)->fds[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST(Message, AClosedPeerIsAnEndNotAnError) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  ends->first.reset();
  auto message = receive_message(ends->second.get());
  ASSERT_TRUE(message);
  EXPECT_FALSE(*message);
  EXPECT_EQ(send_message(ends->second.get(), {}).error().code, EPIPE);
}

TEST(Message, AMessageOverTheLimitIsRefused) {
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  const std::vector<std::byte> bytes(100);
  ASSERT_TRUE(send_message(ends->first.get(), bytes));
  EXPECT_EQ(receive_message(ends->second.get(), 10).error().code, EMSGSIZE);
}

}  // namespace
}  // namespace loopfs::sys
