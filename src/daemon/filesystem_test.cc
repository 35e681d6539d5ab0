#include "daemon/filesystem.h"

#include <gmock/gmock.h>

namespace loopfs::daemon {
namespace {

using testing::Contains;
using testing::Pair;

TEST(CheckedOptions, NamesOfOtherThingsAreRefused) {
  for (const char* list :
       {"journal_path=/dev/sda", "journal_dev=0x801", "logdev=/dev/sda", "device=/dev/sda", "rtdev=x",
        "usrjquota=f", "noacl,jqfmt=1", "errorsx=panic", "dax", "test_dummy_encryption"}) {
    EXPECT_FALSE(checked_options("ext4", list)) << list;
  }
}

TEST(CheckedOptions, APanicIsNotForTheContainerToAskFor) {
  const auto options = checked_options("ext4", "noload,errors=panic,commit=5");
  ASSERT_TRUE(options);
  EXPECT_THAT(*options, Contains(Pair("errors", "remount-ro")));
  EXPECT_THAT(*options, testing::Not(Contains(Pair("errors", "panic"))));
  EXPECT_THAT(*options, Contains(Pair("noload", "")));
  EXPECT_THAT(*options, Contains(Pair("commit", "5")));
}

TEST(CheckedOptions, NoneAreFine) {
  const auto options = checked_options("xfs", ",,");
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->empty());
}

}  // namespace
}  // namespace loopfs::daemon
