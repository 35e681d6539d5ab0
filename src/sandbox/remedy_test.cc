#include "sandbox/remedy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loopfs::sandbox {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string explain(int code, Step step, const MachineFacts& facts = {}) {
  return with_remedy(Error{code, "act"}, step, facts).message();
}

TEST(Remedy, NamesTheSwitchThatForbidsUserNamespaces) {
  EXPECT_THAT(explain(ENOSPC, Step::kUserNamespace, {.most_user_namespaces = 0}),
              HasSubstr("sysctl -w user.max_user_namespaces="));
  EXPECT_THAT(explain(ENOSPC, Step::kUserNamespace, {.most_user_namespaces = 5}), HasSubstr("raise"));
  EXPECT_THAT(explain(EPERM, Step::kUserNamespace, {.unprivileged_userns_clone = 0}),
              HasSubstr("kernel.unprivileged_userns_clone=1"));
  EXPECT_THAT(explain(EPERM, Step::kUserNamespace, {.unprivileged_userns_clone = 1}), HasSubstr("chroot"));
}

TEST(Remedy, AppArmorShowsAtALaterStep) {
  EXPECT_THAT(explain(EACCES, Step::kMount, {.apparmor_restricts_userns = 1}), HasSubstr("AppArmor"));
  EXPECT_THAT(explain(EPERM, Step::kMountProc, {.apparmor_restricts_userns = 0}), HasSubstr("systempaths"));
}

TEST(Remedy, ForAMissingAndAForbiddenFuseDevice) {
  EXPECT_THAT(explain(ENOENT, Step::kOpenFuse), HasSubstr("modprobe fuse"));
  EXPECT_THAT(explain(EACCES, Step::kOpenFuse), HasSubstr("chmod 666 /dev/fuse"));
  EXPECT_THAT(explain(EPERM, Step::kOpenFuse), HasSubstr("--device /dev/fuse"));
}

TEST(Remedy, ForAProfileThatForbidsToReachACaller) {
  for (const Step step : {Step::kCallersSyscall, Step::kCallersMemory, Step::kCallersDescriptor}) {
    EXPECT_THAT(explain(EPERM, step, {.apparmor_restricts_userns = 1}), HasSubstr("--cap-add SYS_PTRACE"));
    EXPECT_THAT(explain(EPERM, step, {.ptrace_scope = 3}), HasSubstr("ptrace_scope"));
  }
  EXPECT_THAT(explain(ENOSYS, Step::kCallersDescriptor), AllOf(HasSubstr("5.6"), HasSubstr("SYS_PTRACE")));
}

TEST(Remedy, IsOneLineAndKeepsTheErrno) {
  EXPECT_EQ(explain(EIO, Step::kMount), "act: Input/output error");
  EXPECT_THAT(explain(EPERM, Step::kMountProc), testing::EndsWith(": Operation not permitted"));
  EXPECT_THAT(explain(EPERM, Step::kMountProc), Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace loopfs::sandbox
