#include "daemon/exit_status.h"

#include <gtest/gtest.h>

#include "keeper/keeper.h"

namespace loopfs::daemon {
namespace {

TEST(ExitStatus, WhatStaysSoIsGivenUp) {
  for (const int code : {EINVAL, EOPNOTSUPP, EADDRINUSE, ENOENT, EPERM, EACCES}) {
    EXPECT_EQ(exit_status({code, "serve"}), keeper::kGiveUpStatus) << code;
  }
}

TEST(ExitStatus, WhatMayPassIsTriedAgain) {
  for (const int code : {EAGAIN, EBUSY, ENOMEM, EMFILE, ENFILE, ENOSPC, EINTR, EIO, EPIPE, EPROTO}) {
    EXPECT_EQ(exit_status({code, "serve"}), 1) << code;
  }
}

}  // namespace
}  // namespace loopfs::daemon
