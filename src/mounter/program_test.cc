#include "mounter/program.h"

#include <gtest/gtest.h>

namespace loopfs::mounter {
namespace {

TEST(TellingLine, IsTheErrorAndNotTheAdvice) {
  EXPECT_EQ(
      telling_line("Failed to mount '/proc/self/fd/3': Input/output error\nNTFS is either inconsistent, or\n"
                   "for more details.\n",
                   "/dev/loop0"),
      "Failed to mount '/dev/loop0': Input/output error");
  EXPECT_EQ(telling_line("FUSE exfat 1.3.0\nERROR: too big cluster size: 2^(102+3).\n", "/dev/loop0"),
            "ERROR: too big cluster size: 2^(102+3).");
}

TEST(TellingLine, IsTheLastOneElse) {
  EXPECT_EQ(telling_line("one\nSomething went wrong\n\n", "/dev/loop0"), "Something went wrong");
  EXPECT_EQ(telling_line("", "/dev/loop0"), "");
}

TEST(TellingLine, HoldsNothingThatATerminalObeys) {
  EXPECT_EQ(telling_line("\x1b[2Jfailed\r", "/dev/loop0"), "?[2Jfailed?");
  EXPECT_EQ(telling_line(std::string(1000, 'x'), "/dev/loop0").size(), 200u);
}

}  // namespace
}  // namespace loopfs::mounter
