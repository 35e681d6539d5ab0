#include "mounter/mount_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace loopfs::mounter {
namespace {

using testing::ElementsAre;

Program sample() {
  Program program;
  program.command = {"prog", "{image}", "{mountpoint}"};
  program.options = {"always"};
  program.read_write_options = {"rw+"};
  program.passed = {"uid=", "bsddf"};
  program.ignored = {"errors=", "acl", "sb=1"};
  program.unsupported = {"grpid", "resuid="};
  return program;
}

TEST(PlanMount, FlagsBecomeAttributesAndModeOptions) {
  const auto plan = plan_mount(MS_RDONLY | MS_NOSUID | MS_NOATIME, "", sample());
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->read_only);
  EXPECT_EQ(plan->attributes, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME});
  EXPECT_THAT(plan->options, ElementsAre("always", "ro"));
  EXPECT_THAT(plan_mount(0, "", sample())->options, ElementsAre("always", "rw+"));
}

TEST(PlanMount, StrictatimeIsAValueOfItsOwn) {
  EXPECT_EQ(attributes_of_flags(MS_STRICTATIME), uint64_t{MOUNT_ATTR_STRICTATIME});
  EXPECT_EQ(attributes_of_flags(MS_RELATIME), uint64_t{MOUNT_ATTR_RELATIME});
}

TEST(PlanMount, OptionsArePassedIgnoredOrRefused) {
  const auto plan = plan_mount(0, "uid=7,errors=remount-ro,acl,bsddf", sample());
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->options, ElementsAre("always", "rw+", "uid=7", "bsddf"));
  EXPECT_EQ(plan_mount(0, "nonsense", sample()).error().code, EINVAL);
  EXPECT_EQ(plan_mount(0, "bsddf=1", sample()).error().code, EINVAL);
  EXPECT_EQ(plan_mount(0, "uid=7\\", sample()).error().code, EINVAL);
}

TEST(PlanMount, WhatHasNoEffectIsTold) {
  const auto plan = plan_mount(0, "grpid,acl,resuid=5", sample());
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->unsupported, ElementsAre("grpid", "resuid=5"));
  EXPECT_THAT(plan->options, ElementsAre("always", "rw+"));
}

TEST(PlanMount, AnOptionMayBeKnownWithOneValueOnly) {
  EXPECT_TRUE(plan_mount(0, "sb=1", sample()));
  EXPECT_EQ(plan_mount(0, "sb=32768", sample()).error().code, EINVAL);
}

TEST(PlanMount, AProgramThatCannotWriteIsMountedReadOnly) {
  Program program = sample();
  program.read_only = true;
  const auto plan = plan_mount(0, "", program);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->read_only);
  EXPECT_NE(plan->attributes & MOUNT_ATTR_RDONLY, 0u);
  EXPECT_THAT(plan->options, ElementsAre("always", "ro"));
}

TEST(TypeAccepts, AsTheKernelsDriversDo) {
  EXPECT_TRUE(type_accepts("ext4", "ext2"));
  EXPECT_FALSE(type_accepts("ext2", "ext4"));
  EXPECT_FALSE(type_accepts("ext3", "ext2"));
  EXPECT_TRUE(type_accepts("msdos", "vfat"));
  EXPECT_TRUE(type_accepts("ntfs3", "ntfs"));
  EXPECT_FALSE(type_accepts("vfat", "ext4"));
}

}  // namespace
}  // namespace loopfs::mounter
