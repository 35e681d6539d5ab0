#include "engine/ioctl_rules.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/loop.h>

#include <set>

namespace loopfs::engine {
namespace {

TEST(IoctlRules, EachCommandHasOne) {
  std::set<unsigned> seen;
  for (const auto& rule : ioctl_rules()) EXPECT_TRUE(seen.insert(rule.command).second) << rule.command;
  EXPECT_EQ(find_ioctl(0x12ff), nullptr);
}

TEST(IoctlRules, WhatIsDoneOnBehalfIsSupervisedAndHasAnArgumentOfKnownSize) {
  for (const auto& rule : ioctl_rules()) {
    if (!rule.on_behalf()) continue;
    EXPECT_TRUE(rule.supervised) << rule.command;
    EXPECT_EQ(rule.argument == Argument::kBytes, rule.size > 0) << rule.command;
  }
}

TEST(IoctlRules, WhoMay) {
  const auto code = [](unsigned command, bool writer, bool admin) {
    const auto may = may_call(*find_ioctl(command), writer, [&] { return admin; });
    return may ? 0 : may.error().code;
  };
  EXPECT_EQ(code(LOOP_CLR_FD, false, false), 0);
  EXPECT_EQ(code(LOOP_SET_STATUS64, true, false), 0);
  EXPECT_EQ(code(LOOP_SET_STATUS64, false, true), 0);
  EXPECT_EQ(code(LOOP_SET_STATUS64, false, false), EPERM);
  EXPECT_EQ(code(BLKBSZSET, true, false), EACCES);
  EXPECT_EQ(code(BLKBSZSET, false, true), 0);
}

}  // namespace
}  // namespace loopfs::engine
