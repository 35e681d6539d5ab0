#include "sys/procfs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/fd.h"

namespace loopfs::sys {
namespace {

TEST(ParseSystemCall, ReadsTheKernelsLines) {
  const auto call = parse_system_call("257 0xffffff9c 0x55d0 0x80002 0x0 0x1 0x2 0x7ffc0 0x7f10\n");
  ASSERT_TRUE(call);
  EXPECT_EQ(*call, (SystemCall{257, {0xffffff9c, 0x55d0, 0x80002, 0, 1, 2}, 0x7ffc0, 0x7f10}));
  EXPECT_EQ(parse_system_call("-1 0x10 0x20\n"), (SystemCall{-1, {}, 0x10, 0x20}));
}

TEST(ParseSystemCall, RefusesAnythingElse) {
  for (const char* line :
       {"running\n", "", "257\n", "257 0x1 0x2\n", "-1\n", "0 0x0 0x0 0x0 0x0 0x0 zz 0x0 0x0\n"}) {
    EXPECT_FALSE(parse_system_call(line)) << line;
  }
}

TEST(SystemCallOf, FindsTheCallOfASleepingThread) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  std::atomic<pid_t> tid = 0;
  std::thread sleeper([&] {
    tid = ::gettid();
    char byte;
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  });
  while (tid == 0) std::this_thread::yield();
  const auto call = system_call_of(tid);
  ::close(ends[1]);
  sleeper.join();
  ::close(ends[0]);
  ASSERT_TRUE(call);
  EXPECT_EQ(call->number, SYS_read);
  EXPECT_EQ(call->arguments[0], static_cast<uint64_t>(ends[0]));
}

TEST(SystemCallOf, GoneThread) {
  EXPECT_EQ(system_call_of(0x7ffffff0).error().code, ESRCH);
}

TEST(Status, OfAThread) {
  const auto parsed = parse_status("Name:\tx\nTgid:\t12\nPid:\t13\nCapEff:\t000001ffffffffff\n");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->process, 12);
  EXPECT_TRUE(parsed->effective_capabilities & (1ull << CAP_SYS_ADMIN));
  EXPECT_FALSE(parse_status("Name:\tx\n"));
  EXPECT_EQ(status_of(::gettid())->process, ::getpid());
  EXPECT_EQ(status_of(0x7ffffff0).error().code, ESRCH);
}

TEST(UserNamespace, IsTheSameByPidAndByFd) {
  const Fd own(::open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(*namespace_id(own.get()), *user_namespace_of(::getpid()));
}

TEST(PathOfFd, IsThePath) {
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(*path_of_fd(::getpid(), null.get()), "/dev/null");
  EXPECT_EQ(path_of_fd(::getpid(), 99999).error().code, ENOENT);
}

}  // namespace
}  // namespace loopfs::sys
