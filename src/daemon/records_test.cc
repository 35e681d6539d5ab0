// What one server writes for the next.
#include "daemon/records.h"

#include <gtest/gtest.h>

namespace loopfs::daemon {
namespace {

TEST(InstanceRecord, ComesBack) {
  InstanceRecord record{.id = 7,
                        .max = 3,
                        .uid = 200000,
                        .gid = 200005,
                        .mode = 0640,
                        .root_uid = 200000,
                        .root_gid = 200000,
                        .device = 99,
                        .pid_namespace = {4, 4026531836}};
  record.begun_with = {std::byte{0}, std::byte{255}, std::byte{17}};
  const auto back = InstanceRecord::decode(record.encode());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, 7u);
  EXPECT_EQ(back->max, 3u);
  EXPECT_EQ(back->uid, 200000u);
  EXPECT_EQ(back->gid, 200005u);
  EXPECT_EQ(back->mode, 0640u);
  EXPECT_EQ(back->device, 99u);
  EXPECT_EQ(back->begun_with, record.begun_with);
  EXPECT_TRUE(back->pid_namespace == record.pid_namespace);
}

TEST(InstanceRecord, OfAnotherVersionIsAnError) {
  EXPECT_FALSE(InstanceRecord::decode("{}"));
  EXPECT_FALSE(InstanceRecord::decode("nonsense"));
}

TEST(DeviceRecord, ComesBackWithAnyPath) {
  kernel::DeviceRecord record{.number = 5};
  record.owners[0] = {.mode = 0600, .uid = 1, .gid = 2, .changed = {3, 4}};
  record.owners[2] = {.mode = 0660};
  record.binding = kernel::BindingRecord{.kernel_device = 100003,
                                         .sequence = 77,
                                         .backing_path = "/a\n\xff\"b",
                                         .backing_device = 8,
                                         .backing_inode = UINT64_MAX};
  auto back = decode_device(encode_device(record));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->number, 5u);
  ASSERT_EQ(back->owners.size(), 2u);
  EXPECT_EQ(back->owners[0].changed.tv_nsec, 4);
  EXPECT_EQ(back->owners[2].mode, 0660u);
  ASSERT_TRUE(back->binding);
  EXPECT_EQ(back->binding->kernel_device, 100003u);
  EXPECT_EQ(back->binding->backing_path, "/a\n\xff\"b");
  EXPECT_EQ(back->binding->backing_inode, UINT64_MAX);
}

TEST(DeviceRecord, OfAFreeDevice) {
  const auto back = decode_device(encode_device({.number = 1}));
  ASSERT_TRUE(back);
  EXPECT_FALSE(back->binding);
}

}  // namespace
}  // namespace loopfs::daemon
