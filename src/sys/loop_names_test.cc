#include "sys/loop_names.h"

#include <gtest/gtest.h>

namespace loopfs::sys {
namespace {

using Numbers = std::set<uint32_t>;

TEST(LoopNames, SourcesOfMounts) {
  EXPECT_EQ(parse_loop_numbers("36 25 7:5 / /snap/core rw - squashfs /dev/loop5 ro\n"
                               "37 25 259:9 / /mnt rw - vfat /dev/loop12p3 rw\n"),
            (Numbers{5, 12}));
}

TEST(LoopNames, DeviceNumberWhereTheNameIsAnother) {
  EXPECT_EQ(parse_loop_numbers("36 25 7:31 / /mnt rw - ext4 /dev/disk/by-label/x rw\n"), Numbers{31});
}

TEST(LoopNames, Swaps) {
  EXPECT_EQ(parse_loop_numbers("Filename\tType\tSize\n/dev/loop3\tpartition\t8\n"), Numbers{3});
}

TEST(LoopNames, OtherWords) {
  EXPECT_EQ(parse_loop_numbers("36 25 0:17 /dev/loop-control /x/dev/loop4 rw - fuse.loopfs /dev/loopback rw\n"
                               "37 25 17:5 / /mnt rw - x /dev/loop rw\n"),
            Numbers{});
}

}  // namespace
}  // namespace loopfs::sys
