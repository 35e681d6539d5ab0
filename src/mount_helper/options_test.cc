#include "mount_helper/options.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace loopfs::mount_helper {
namespace {

TEST(Options, AsMountPassesThem) {
  const auto options =
      parse({"none", "/dev/loopfs", "-n", "-o", "rw,nosuid,max=3,uid=5,gid=6,mode=0660,engine=kernel"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->directory, "/dev/loopfs");
  EXPECT_EQ(options->max, 3u);
  EXPECT_EQ(options->uid, 5u);
  EXPECT_EQ(options->gid, 6u);
  EXPECT_EQ(options->mode, 0660u);
  EXPECT_EQ(options->attributes, 0u);
}

TEST(Options, OfTheMount) {
  const auto options = parse({"none", "/mnt", "-o", "ro,noatime", "-o", "x-systemd.automount,socket=/s"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->attributes, uint64_t{MOUNT_ATTR_RDONLY} | MOUNT_ATTR_NOATIME);
  EXPECT_EQ(options->socket, "/s");
}

TEST(Options, WhatIsUnknownIsRefused) {
  EXPECT_FALSE(parse({"none", "/mnt", "-o", "maximum=3"}));
  EXPECT_FALSE(parse({"none", "/mnt", "-o", "max=many"}));
  EXPECT_FALSE(parse({"none", "/mnt", "-o", "mode=9"}));
  EXPECT_FALSE(parse({"none", "/mnt", "-o", "engine=user"}));
  EXPECT_FALSE(parse({"none", "/mnt", "-o"}));
  EXPECT_FALSE(parse({"none"}));
  EXPECT_FALSE(parse({"-x", "none", "/mnt"}));
  EXPECT_TRUE(parse({"none", "/mnt", "-s", "-o", "maximum=3"}));
}

}  // namespace
}  // namespace loopfs::mount_helper
