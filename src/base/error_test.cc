#include "base/error.h"

#include <gtest/gtest.h>

namespace loopfs::base {
namespace {

Result<int> fails() {
  return fail(EBUSY, "LOOP_CONFIGURE loop{}", 3);
}

TEST(Error, MessageNamesTheActTheOperandAndTheReason) {
  EXPECT_EQ(fails().error().message(), "LOOP_CONFIGURE loop3: Device or resource busy");
}

TEST(Error, PropagateAddsContextInFrontAndKeepsTheCode) {
  const Result<std::string> outer = propagate(fails(), "attach '{}'", "a.img");
  EXPECT_EQ(outer.error().code, EBUSY);
  EXPECT_EQ(outer.error().message(), "attach 'a.img': LOOP_CONFIGURE loop3: Device or resource busy");
}

TEST(Error, ErrnoFailTakesErrno) {
  errno = ENOSPC;
  const Result<int> result = errno_fail("write '{}'", "x");
  EXPECT_EQ(result.error().code, ENOSPC);
}

TEST(Error, AnErrorWithoutAnErrnoIsItsText) {
  EXPECT_EQ((Error{0, "no such option"}).message(), "no such option");
}

}  // namespace
}  // namespace loopfs::base
