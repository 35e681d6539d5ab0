#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

namespace loopfs::base {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Fd, ClosesAtTheEndOfItsScopeAndKeepsErrno) {
  int raw = -1;
  errno = EXDEV;
  {
    Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.get();
    ASSERT_TRUE(is_open(raw));
    errno = EXDEV;
  }
  EXPECT_EQ(errno, EXDEV);
  EXPECT_FALSE(is_open(raw));
}

TEST(Fd, MovesOwnership) {
  Fd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = first.get();
  Fd second(std::move(first));
  EXPECT_EQ(second.get(), raw);
  Fd third;
  third = std::move(second);
  EXPECT_TRUE(is_open(raw));
  third.reset();
  EXPECT_FALSE(is_open(raw));
}

TEST(Fd, ReleaseGivesUpWithoutClosing) {
  Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int raw = fd.release();
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(is_open(raw));
  ::close(raw);
}

}  // namespace
}  // namespace loopfs::base
