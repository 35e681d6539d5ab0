#include "supervisor/kernel_mounts.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace loopfs::supervisor {
namespace {

TEST(KernelMounts, FlagsOfMountAreOptions) {
  EXPECT_EQ(options_of(0, ""), "async,nolazytime");
  EXPECT_EQ(options_of(MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME, "commit=5"),
            "dirsync,sync,lazytime,commit=5");
}

TEST(KernelMounts, WhatMountTablesShowIsNoOptionOfARemount) {
  std::string seen;
  const KernelMounts mounts(
      {.mount = nullptr, .remount = [&](const KernelMounts::Wanted& wanted) -> Result<void> {
         seen = wanted.data;
         return {};
       }});
  EXPECT_TRUE(mounts.remount(
      {.node = {}, .type = "ext4", .flags = 0, .data = "idmapped,errors=remount-ro,commit=5"}));
  EXPECT_EQ(seen, "async,nolazytime,errors=remount-ro,commit=5");
}

TEST(KernelMounts, WithoutAMakerAMountIsForAProgram) {
  const KernelMounts mounts({});
  const auto mounted = mounts.mount({.node = {}, .type = "ext4", .flags = 0, .data = ""});
  ASSERT_TRUE(mounted);
  EXPECT_FALSE(mounted->has_value());
}

TEST(KernelMounts, AreKnownByTheirDevice) {
  KernelMounts mounts({});
  EXPECT_TRUE(mounts.empty());
  mounts.add(7, {.node = {}, .type = "ext2"});
  mounts.add(7, {.node = {}, .type = "ext4"});
  EXPECT_EQ(mounts.find(7)->type, "ext4");
  EXPECT_FALSE(mounts.find(8));
}

}  // namespace
}  // namespace loopfs::supervisor
