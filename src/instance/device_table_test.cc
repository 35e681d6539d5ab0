#include "instance/device_table.h"

#include <gtest/gtest.h>

namespace loopfs::instance {
namespace {

template <typename T>
int code(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

TEST(DeviceTable, NumbersAreTheLowestUnused) {
  DeviceTable table({});
  EXPECT_EQ(*table.add(-1), 0u);
  EXPECT_EQ(*table.add(2), 2u);
  EXPECT_EQ(*table.add(-1), 1u);
  EXPECT_EQ(*table.add(-1), 3u);
  EXPECT_EQ(code(table.add(2)), EEXIST);
  EXPECT_EQ(code(table.add(kMostDevices)), ENOSPC);
  EXPECT_EQ(*table.add(kMostDevices - 1), kMostDevices - 1);
}

TEST(DeviceTable, MaxLimitsTheNumberOfDevicesNotTheirNumbers) {
  DeviceTable table(2);
  EXPECT_EQ(*table.add(100), 100u);
  EXPECT_EQ(*table.add(-1), 0u);
  EXPECT_EQ(code(table.add(-1)), ENOSPC);
  EXPECT_EQ(code(table.add(100)), EEXIST);
  EXPECT_TRUE(table.remove(100));
  EXPECT_EQ(*table.add(-1), 1u);
}

TEST(DeviceTable, GetFreePrefersAnExistingDevice) {
  DeviceTable table(3);
  EXPECT_EQ(*table.get_free(), 0u);
  EXPECT_EQ(*table.get_free(), 0u);
  table.find(0)->bind({}, 512, 512, 7);
  EXPECT_EQ(*table.add(5), 5u);
  EXPECT_EQ(*table.get_free(), 5u);
  table.find(5)->bind({}, 512, 512, 8);
  EXPECT_EQ(*table.get_free(), 1u);
  table.find(1)->bind({}, 512, 512, 9);
  EXPECT_EQ(code(table.get_free()), ENOSPC);
}

TEST(DeviceTable, RemoveWantsAnUnusedDevice) {
  DeviceTable table({});
  EXPECT_EQ(code(table.remove(-1)), EINVAL);
  EXPECT_EQ(code(table.remove(0)), ENODEV);
  EXPECT_EQ(code(table.remove(1LL << 40)), ENODEV);
  ASSERT_TRUE(table.add(0));
  ASSERT_TRUE(table.find(0)->open(0, false));
  EXPECT_EQ(code(table.remove(0)), EBUSY);
  EXPECT_FALSE(table.find(0)->close(0, false));
  table.find(0)->bind({}, 512, 512, 7);
  EXPECT_EQ(code(table.remove(0)), EBUSY);
  table.find(0)->unbind(8);
  EXPECT_EQ(code(table.remove(0)), 0);
  EXPECT_EQ(table.find(0), nullptr);
}

TEST(DeviceTable, EachDeviceHasItsOwnSequence) {
  DeviceTable table({});
  ASSERT_TRUE(table.add(0));
  ASSERT_TRUE(table.add(1));
  EXPECT_LT(table.find(0)->sequence(), table.find(1)->sequence());
}

}  // namespace
}  // namespace loopfs::instance
