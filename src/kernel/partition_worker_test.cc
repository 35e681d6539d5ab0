#include "kernel/partition_worker.h"

#include <gtest/gtest.h>
#include <linux/blkpg.h>

namespace loopfs::kernel {
namespace {

TEST(PartitionLines, ComeBackAsEdits) {
  const auto edits = parse_partition_lines(
      partition_lines({{1, {.start = 512, .size = 1024}}, {255, {.start = uint64_t{1} << 62, .size = 0}}}));
  ASSERT_EQ(edits.size(), 2u);
  EXPECT_EQ(edits[0].operation, BLKPG_ADD_PARTITION);
  EXPECT_EQ(edits[0].number, 1);
  EXPECT_EQ(edits[0].start, 512);
  EXPECT_EQ(edits[0].length, 1024);
  EXPECT_EQ(edits[1].number, 255);
  EXPECT_EQ(edits[1].start, int64_t{1} << 62);
}

TEST(PartitionLines, NumbersOutOfRangeAreLeftOut) {
  EXPECT_TRUE(parse_partition_lines("0 1 1\n-1 1 1\n256 1 1\n").empty());
  EXPECT_EQ(parse_partition_lines("0 1 1\n2 1 1\n").size(), 1u);
}

TEST(PartitionLines, EndAtTheFirstThatIsNone) {
  EXPECT_EQ(parse_partition_lines("1 1 1\nx\n2 1 1\n").size(), 1u);
  EXPECT_EQ(parse_partition_lines("1 1 1\n99999999999999999999 1 1\n2 1 1\n").size(), 1u);
  EXPECT_EQ(parse_partition_lines("1 1 1\n2 1").size(), 1u);
  EXPECT_TRUE(parse_partition_lines("").empty());
}

// Each edit is an ioctl under the daemon's rights: a reader that was taken over must not have 64 KiB of them.
TEST(PartitionLines, AreOneForEachNumber) {
  std::string answer;
  for (int i = 0; i < 10000; ++i) answer += "1 512 512\n";
  EXPECT_EQ(parse_partition_lines(answer).size(), 1u);
}

}  // namespace
}  // namespace loopfs::kernel
