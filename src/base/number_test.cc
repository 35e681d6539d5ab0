#include "base/number.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace loopfs::base {
namespace {

TEST(ParseNumber, TakesDigitsOnly) {
  EXPECT_EQ(parse_number<uint32_t>("0"), 0U);
  EXPECT_EQ(parse_number<uint32_t>("4294967295"), UINT32_MAX);
  EXPECT_EQ(parse_number<int>("-1"), -1);
  EXPECT_EQ(parse_number<uint32_t>("755", 8), 0755U);
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "1x", "0x1", "4294967296"}) {
    EXPECT_FALSE(parse_number<uint32_t>(text)) << text;
  }
}

}  // namespace
}  // namespace loopfs::base
