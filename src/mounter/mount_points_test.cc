#include "mounter/mount_points.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace loopfs::mounter {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr const char* kText =
    "30 22 0:64 / /mnt/one rw,relatime - fuse.loop.ext4 /dev/loop0 rw\n"
    "31 22 0:65 / /mnt/two rw,relatime - fuse.loop.ext4 /dev/loop1 rw\n"
    "32 22 0:64 /folder /mnt/part rw,relatime - fuse.loop.ext4 /dev/loop0 rw\n"
    "33 22 0:64 / /mnt/a\\040blank\\134 rw,relatime shared:1 - fuse.loop.ext4 /dev/loop0 rw\n";

TEST(MountPoints, AreThoseOfTheWholeFileSystem) {
  EXPECT_THAT(mount_points(kText, makedev(0, 64)), ElementsAre("/mnt/one", "/mnt/a blank\\"));
  EXPECT_THAT(mount_points(kText, makedev(0, 65)), ElementsAre("/mnt/two"));
  EXPECT_THAT(mount_points(kText, makedev(0, 6)), IsEmpty());
}

TEST(MountPoints, OddLinesAreNone) {
  EXPECT_THAT(mount_points("", makedev(0, 64)), IsEmpty());
  EXPECT_THAT(mount_points("\n30 22\n30 22 0:64 /\n", makedev(0, 64)), ElementsAre(""));
  EXPECT_THAT(mount_points("30 22 0:64 / /a\\0\n", makedev(0, 64)), ElementsAre("/a\\0"));
}

}  // namespace
}  // namespace loopfs::mounter
