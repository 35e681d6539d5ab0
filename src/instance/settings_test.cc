#include "instance/settings.h"

#include <gtest/gtest.h>

#include <cstring>

namespace loopfs::instance {
namespace {

TEST(Settings, InfoIsChecked) {
  Settings settings;
  loop_info64 info{};
  info.lo_encrypt_key_size = LO_KEY_SIZE + 1;
  EXPECT_EQ(apply_info(settings, info).error().code, EINVAL);
  info = {};
  info.lo_encrypt_type = LO_CRYPT_XOR;
  EXPECT_EQ(apply_info(settings, info).error().code, EINVAL);
  info = {};
  info.lo_offset = 1ULL << 63;
  EXPECT_EQ(apply_info(settings, info).error().code, EOVERFLOW);
  info = {};
  info.lo_offset = 512;
  std::memset(info.lo_file_name, 'x', sizeof info.lo_file_name);
  ASSERT_TRUE(apply_info(settings, info));
  EXPECT_EQ(settings.offset, 512u);
  EXPECT_EQ(std::strlen(settings.file_name.data()), LO_NAME_SIZE - 1u);
}

TEST(Settings, Flags) {
  EXPECT_TRUE(check_configure_flags(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN |
                                    LO_FLAGS_DIRECT_IO));
  EXPECT_EQ(check_configure_flags(2).error().code, EINVAL);
  EXPECT_EQ(check_configure_flags(0x80000000).error().code, EINVAL);
  EXPECT_EQ(flags_after_set_status(LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN, 0), uint32_t{LO_FLAGS_PARTSCAN});
  EXPECT_EQ(flags_after_set_status(LO_FLAGS_READ_ONLY, ~0u),
            uint32_t{LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN});
}

TEST(Settings, BlockSizes) {
  for (uint64_t size : {512, 1024, 2048, 4096, 65536}) EXPECT_TRUE(check_block_size(size)) << size;
  for (uint64_t size : {0, 1, 256, 1000, 131072}) EXPECT_FALSE(check_block_size(size)) << size;
}

TEST(Settings, SizesAreWholeSectors) {
  EXPECT_EQ(device_size(1000, 0, 0), 512u);
  EXPECT_EQ(device_size(511, 0, 0), 0u);
  EXPECT_EQ(device_size(2048, 100, 0), 1536u);
  EXPECT_EQ(device_size(2048, 4096, 0), 0u);
  EXPECT_EQ(device_size(2048, 0, 1100), 1024u);
  EXPECT_EQ(device_size(2048, 0, 4096), 2048u);
}

TEST(Settings, RangesThatShareBytes) {
  EXPECT_TRUE(ranges_overlap(0, 0, 0, 0));
  EXPECT_TRUE(ranges_overlap(0, 0, uint64_t{1} << 62, 0)) << "no limit";
  EXPECT_TRUE(ranges_overlap(4096, 0, 0, 4097));
  EXPECT_FALSE(ranges_overlap(4096, 0, 0, 4096));
  EXPECT_FALSE(ranges_overlap(0, 4096, 4096, 4096));
  EXPECT_TRUE(ranges_overlap(0, 4096, 1024, 1024));
  EXPECT_TRUE(ranges_overlap(1024, UINT64_MAX, 0, 2048)) << "an end that is no number";
}

TEST(Settings, OldInfo) {
  loop_info64 info{};
  info.lo_number = 3;
  info.lo_offset = 4096;
  info.lo_flags = LO_FLAGS_AUTOCLEAR;
  std::memcpy(info.lo_file_name, "a.img", sizeof "a.img");
  const auto old = to_old_info(info);
  ASSERT_TRUE(old);
  EXPECT_STREQ(old->lo_name, "a.img");
  EXPECT_EQ(from_old_info(*old).lo_offset, 4096u);
  info.lo_offset = 1ULL << 32;
  EXPECT_EQ(to_old_info(info).error().code, EOVERFLOW);
  loop_info negative{};
  negative.lo_offset = -1;
  Settings settings;
  EXPECT_EQ(apply_info(settings, from_old_info(negative)).error().code, EOVERFLOW);
}

}  // namespace
}  // namespace loopfs::instance
