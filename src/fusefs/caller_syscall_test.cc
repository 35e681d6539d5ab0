#include "fusefs/caller_syscall.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

namespace loopfs::fusefs {
namespace {

sys::SystemCall call_of(int64_t number, std::array<uint64_t, 6> arguments,
                        uint64_t registers = 0x7fff00001000) {
  return {number, arguments, registers, registers};
}

TEST(OpenFlagsOf, FindsTheFlagsOfEachOpen) {
  const auto openat = open_flags_of(call_of(SYS_openat, {1, 2, O_RDWR}));
  EXPECT_TRUE(openat.opens);
  EXPECT_FALSE(openat.in_memory);
  EXPECT_EQ(openat.where, static_cast<uint64_t>(O_RDWR));
  const auto openat2 = open_flags_of(call_of(SYS_openat2, {1, 2, 0x5000, 24}));
  EXPECT_TRUE(openat2.in_memory);
  EXPECT_EQ(openat2.where, 0x5000u);
#ifdef SYS_open
  EXPECT_EQ(open_flags_of(call_of(SYS_open, {1, O_WRONLY})).where, static_cast<uint64_t>(O_WRONLY));
  EXPECT_TRUE(open_flags_of(call_of(SYS_creat, {1, 0644})).opens);
#endif
}

TEST(OpenFlagsOf, LookingIsNotOpening) {
  for (const int64_t number :
       {SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_readlinkat, SYS_unlinkat, SYS_mount}) {
    EXPECT_FALSE(open_flags_of(call_of(number, {1, 2, 3})).opens) << number;
  }
}

TEST(OnlyLooks, WhateverTableTheNumberIsOf) {
  EXPECT_TRUE(only_looks(call_of(SYS_newfstatat, {})));
  EXPECT_TRUE(only_looks(call_of(SYS_statx, {})));
  for (const int64_t number :
       {SYS_openat, SYS_openat2, SYS_mount, SYS_swapon, SYS_open_tree, SYS_io_uring_enter}) {
    EXPECT_FALSE(only_looks(call_of(number, {}))) << number;
  }
  EXPECT_FALSE(only_looks(call_of(-1, {})));
  EXPECT_FALSE(
      only_looks(call_of(SYS_newfstatat, {}, 0)));  // io_uring's, made while its process was in stat(2)
#ifdef __x86_64__
  // i386: open, creat, mount, swapon, openat; x86-64: open, creat. With registers of either kind.
  for (const int64_t number : {5, 8, 21, 87, 295, 2, 85}) {
    EXPECT_FALSE(only_looks(call_of(number, {}))) << number;
    EXPECT_FALSE(only_looks(call_of(number, {}, 0x1000))) << number;
  }
  EXPECT_FALSE(only_looks(call_of(0x40000000 | SYS_newfstatat, {})));
#endif
}

TEST(OpenFlagsOf, IoUringOpens) {
  EXPECT_TRUE(open_flags_of(call_of(-1, {})).opens);
  EXPECT_TRUE(open_flags_of(call_of(SYS_io_uring_enter, {})).opens);
  EXPECT_TRUE(open_flags_of(call_of(SYS_newfstatat, {}, 0)).opens);
  EXPECT_FALSE(is_open_call({.opens = true, .call = call_of(SYS_openat, {}, 0)}));
}

#ifdef __x86_64__
TEST(OpenFlagsOf, AThirtyTwoBitCallerHasItsOwnNumbers) {
  EXPECT_TRUE(open_flags_of(call_of(5, {1, O_RDWR}, 0xff001000)).opens);  // open; fstat on x86-64
  EXPECT_FALSE(open_flags_of(call_of(5, {1, O_RDWR})).opens);
  EXPECT_FALSE(open_flags_of(call_of(257, {1, 2, O_RDWR}, 0xff001000)).opens);  // remap_file_pages
  EXPECT_TRUE(open_flags_of(call_of(0x40000000 | SYS_openat, {1, 2, 0}, 0xff001000)).opens);  // x32
}
#endif

TEST(IntentOfFlags, OPathOpensNothing) {
  EXPECT_FALSE(intent_of_flags(O_PATH).opens);
  EXPECT_TRUE(intent_of_flags(O_PATH).opens_path);
  EXPECT_TRUE(intent_of_flags(O_RDWR).opens);
  EXPECT_FALSE(intent_of_flags(O_RDWR).opens_path);
  EXPECT_FALSE(intent_of_flags(O_RDWR).exclusive);
  EXPECT_TRUE(intent_of_flags(O_RDONLY | O_EXCL).exclusive);
}

}  // namespace
}  // namespace loopfs::fusefs
