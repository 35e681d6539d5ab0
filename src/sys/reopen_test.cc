#include "sys/reopen.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace loopfs::sys {
namespace {

TEST(Reopen, GivesANewDescriptionOfTheSameFile) {
  char name[] = "/tmp/loopfs-reopen-XXXXXX";
  const Fd file(::mkstemp(name));
  ASSERT_TRUE(file.valid());
  ::unlink(name);
  ASSERT_EQ(::write(file.get(), "abc", 3), 3);
  const auto again = reopen(file.get(), O_RDONLY, -1);
  ASSERT_TRUE(again) << again.error().message();
  char bytes[4] = {};
  EXPECT_EQ(::read(again->get(), bytes, 3), 3);  // from its own offset
  EXPECT_STREQ(bytes, "abc");
  EXPECT_EQ(::fcntl(again->get(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
  EXPECT_EQ(reopen(-1, O_RDONLY, -1).error().code, ENOENT);
}

TEST(StatOfFd, IsFstat) {
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(S_ISCHR(stat_of_fd(null.get(), -1)->st_mode));
  EXPECT_EQ(stat_of_fd(-1, -1).error().code, EBADF);
}

}  // namespace
}  // namespace loopfs::sys
