#include "sys/probe.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace loopfs::sys {
namespace {

// What the answers are depends on the machine; that they come, and leave the caller as it was, does not.
TEST(Probe, AnswersAreErrnos) {
  const NamespaceProbe namespaces = probe_namespaces();
  EXPECT_NE(namespaces.create, EIO);
  if (namespaces.create != 0) {
    EXPECT_EQ(namespaces.mount_proc, namespaces.create);
  }
  const NotifyProbe notify = probe_seccomp_notify();
  EXPECT_NE(notify.listener, EIO);
  EXPECT_NE(notify.wait_killable, EIO);
}

TEST(Probe, ForeignProcess) {
  const ForeignProcessProbe foreign = probe_foreign_process();
  if (probe_namespaces().create != 0) GTEST_SKIP() << "no user namespaces";
  EXPECT_NE(foreign.read_memory, EIO);
  EXPECT_NE(foreign.read_memory, EFAULT);
  EXPECT_NE(foreign.take_fd, EBADF);
}

}  // namespace
}  // namespace loopfs::sys
