#include "instance/device.h"

#include <gtest/gtest.h>

namespace loopfs::instance {
namespace {

constexpr uint64_t kMiB = 1 << 20;

int code(const Result<void>& result) {
  return result ? 0 : result.error().code;
}

Device bound_device(uint32_t flags = 0) {
  Device device(3, 1);
  device.bind({.flags = flags}, 16 * kMiB, 512, 2);
  return device;
}

TEST(Device, AutoclearIsAtTheLastClose) {
  Device device = bound_device(LO_FLAGS_AUTOCLEAR);
  ASSERT_TRUE(device.open(0, false));
  ASSERT_TRUE(device.open(0, false));
  EXPECT_FALSE(device.close(0, false));
  EXPECT_TRUE(device.bound());
  EXPECT_TRUE(device.close(0, false));
  EXPECT_EQ(device.state(), State::kRundown);
  device.unbind(9);
  EXPECT_EQ(device.state(), State::kFree);
  EXPECT_EQ(device.size(), 0u);
  EXPECT_EQ(device.sequence(), 9u);
}

TEST(Device, WithoutAutoclearItStaysBound) {
  Device device = bound_device();
  ASSERT_TRUE(device.open(0, false));
  EXPECT_FALSE(device.close(0, false));
  EXPECT_TRUE(device.bound());
}

TEST(Device, AtTheEndOfTheInstance) {
  Device used = bound_device(), unused = bound_device(), free(0, 1);
  ASSERT_TRUE(used.open(0, false));
  EXPECT_FALSE(used.retire());
  EXPECT_TRUE(used.bound());
  EXPECT_TRUE(used.close(0, false));
  EXPECT_TRUE(unused.retire());
  EXPECT_FALSE(free.retire());
}

TEST(Device, ClearWithOneOpenerKeepsNewOnesOut) {
  Device device = bound_device();
  ASSERT_TRUE(device.open(0, false));
  EXPECT_EQ(code(device.clear()), 0);
  EXPECT_EQ(device.state(), State::kRundown);
  EXPECT_EQ(code(device.open(0, false)), ENXIO);
  EXPECT_EQ(code(device.clear()), ENXIO);
  EXPECT_TRUE(device.close(0, false));
}

TEST(Device, ClearWithTwoOpenersIsAutoclear) {
  Device device = bound_device();
  ASSERT_TRUE(device.open(0, false));
  ASSERT_TRUE(device.open(0, false));
  EXPECT_EQ(code(device.clear()), 0);
  EXPECT_TRUE(device.bound());
  EXPECT_TRUE(device.autoclear());
  EXPECT_TRUE(device.open(0, false));
}

TEST(Device, APartitionOpenCountsAsOneOfTheDevice) {
  Device device = bound_device(LO_FLAGS_AUTOCLEAR);
  ASSERT_TRUE(device.add_partition(1, kMiB, kMiB));
  ASSERT_TRUE(device.open(1, false));
  ASSERT_TRUE(device.open(0, false));
  EXPECT_FALSE(device.close(0, false));
  EXPECT_TRUE(device.close(1, false));
}

TEST(Device, ClaimsExcludeEachOther) {
  Device device = bound_device();
  ASSERT_TRUE(device.add_partition(1, kMiB, kMiB));
  ASSERT_TRUE(device.add_partition(2, 2 * kMiB, kMiB));
  ASSERT_TRUE(device.open(1, true));
  EXPECT_EQ(code(device.open(1, true)), EBUSY);
  EXPECT_EQ(code(device.open(0, true)), EBUSY);
  EXPECT_EQ(code(device.open(0, false)), 0);
  EXPECT_EQ(code(device.open(1, false)), 0);
  EXPECT_EQ(code(device.open(2, true)), 0);
  EXPECT_FALSE(device.close(1, true));
  EXPECT_FALSE(device.close(2, true));
  EXPECT_EQ(code(device.open(0, true)), 0);
  EXPECT_EQ(code(device.open(2, true)), EBUSY);
}

TEST(Device, WhoHasTheClaimMayRefuseWriters) {
  Device device = bound_device();
  ASSERT_TRUE(device.open(0, true));
  EXPECT_EQ(code(device.open(0, false, true)), 0);
  device.refuse_writers(0);
  EXPECT_EQ(code(device.open(0, false, true)), EBUSY);
  EXPECT_EQ(code(device.open(0, false, false)), 0);
  EXPECT_FALSE(device.close(0, false));
  EXPECT_EQ(code(device.open(0, false, true)), EBUSY);
  EXPECT_FALSE(device.close(0, true));
  EXPECT_EQ(code(device.open(0, false, true)), 0);
}

TEST(Device, BindingNeedsAFreeUnclaimedDevice) {
  Device device(0, 1);
  ASSERT_TRUE(device.open(0, true));
  EXPECT_EQ(code(device.may_bind(0, false)), EBUSY);
  EXPECT_EQ(code(device.may_bind(0, true)), 0);
  device.bind({}, kMiB, 512, 2);
  EXPECT_EQ(code(device.may_bind(0, true)), EBUSY);
}

TEST(Device, ReadOnlyOutlivesTheBindingAsInTheKernel) {
  Device device = bound_device(LO_FLAGS_READ_ONLY);
  EXPECT_TRUE(device.read_only(0));
  device.unbind(3);
  EXPECT_TRUE(device.read_only(0));
  device.bind({}, kMiB, 512, 4);
  EXPECT_FALSE(device.read_only(0));
  device.set_read_only(0, true);
  EXPECT_TRUE(device.read_only(0));
}

TEST(Device, SoftBlockSizeFollowsTheSizeAtTheFirstOpen) {
  Device device(0, 1);
  device.bind({}, kMiB + 1024, 512, 2);
  ASSERT_TRUE(device.open(0, false));
  EXPECT_EQ(device.node(0).soft_block_size, 1024u);
  EXPECT_EQ(code(device.set_soft_block_size(0, false, 256)), EINVAL);
  EXPECT_EQ(code(device.set_soft_block_size(0, false, -4096)), EINVAL);
  EXPECT_EQ(code(device.set_soft_block_size(0, false, 2048)), 0);
  EXPECT_EQ(device.node(0).soft_block_size, 2048u);
}

TEST(Device, BlkpgRules) {
  Device device = bound_device();
  EXPECT_EQ(code(device.add_partition(0, kMiB, kMiB)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, -512, kMiB)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, 0, 0)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, 100, 512)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, 16 * kMiB, 512)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, 15 * kMiB, 2 * kMiB)), EINVAL);
  EXPECT_EQ(code(device.add_partition(256, kMiB, kMiB)), EINVAL);
  EXPECT_EQ(code(device.add_partition(1, kMiB, kMiB)), 0);
  EXPECT_EQ(code(device.add_partition(1, 4 * kMiB, kMiB)), EBUSY);
  EXPECT_EQ(code(device.add_partition(2, kMiB + 512, kMiB)), EBUSY);
  EXPECT_EQ(code(device.resize_partition(1, 2 * kMiB, kMiB)), EINVAL);
  EXPECT_EQ(code(device.resize_partition(2, kMiB, kMiB)), ENXIO);
  EXPECT_EQ(code(device.resize_partition(1, kMiB, 3 * kMiB)), 0);
  EXPECT_EQ(device.size(1), 3 * kMiB);
  ASSERT_TRUE(device.open(1, false));
  EXPECT_EQ(code(device.delete_partition(1)), EBUSY);
  EXPECT_FALSE(device.close(1, false));
  EXPECT_EQ(code(device.delete_partition(1)), 0);
  EXPECT_EQ(code(device.delete_partition(1)), ENXIO);
  EXPECT_EQ(code(device.open(1, false)), ENXIO);
}

TEST(Device, RescanRules) {
  Device plain = bound_device();
  EXPECT_EQ(code(plain.may_rescan(false)), EINVAL);
  Device device = bound_device(LO_FLAGS_PARTSCAN);
  EXPECT_EQ(code(device.may_rescan(false)), 0);
  ASSERT_TRUE(device.add_partition(1, kMiB, kMiB));
  ASSERT_TRUE(device.open(1, false));
  EXPECT_EQ(code(device.may_rescan(false)), EBUSY);
  EXPECT_FALSE(device.close(1, false));
  ASSERT_TRUE(device.open(0, true));
  EXPECT_EQ(code(device.may_rescan(false)), EBUSY);
  EXPECT_EQ(code(device.may_rescan(true)), 0);
}

TEST(Device, ScannedPartitionsAreCutAtTheEnd) {
  Device device = bound_device(LO_FLAGS_PARTSCAN);
  device.replace_partitions({{1, {kMiB, kMiB, "u", "l"}},
                             {2, {15 * kMiB, 4 * kMiB, "", ""}},
                             {3, {17 * kMiB, kMiB, "", ""}},
                             {256, {kMiB, kMiB, "", ""}}});
  ASSERT_EQ(device.partitions().size(), 2u);
  EXPECT_EQ(device.partitions().at(1).label, "l");
  EXPECT_EQ(device.size(2), kMiB);
}

}  // namespace
}  // namespace loopfs::instance
