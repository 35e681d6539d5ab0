#include "varlink/peer.h"

#include <sys/wait.h>

#include "sys/pidfd.h"
#include "varlink/test_service.h"

namespace loopfs::varlink {
namespace {

TEST(Peer, IsThisProcessOverASocketPair) {
  auto [here, there] = channel_pair();
  auto peer = peer_of(here.fd());
  ASSERT_TRUE(peer) << peer.error().message();
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  EXPECT_EQ(sys::pid_of_pidfd(peer->pidfd.get()).value(), ::getpid());
  EXPECT_EQ(::fcntl(peer->pidfd.get(), F_GETFD), FD_CLOEXEC);
}

TEST(Peer, ByNumberIsTheSame) {
  auto [here, there] = channel_pair();
  auto pidfd = peer_pidfd_by_number(here.fd(), ::getpid(), ::geteuid());
  ASSERT_TRUE(pidfd) << pidfd.error().message();
  EXPECT_EQ(sys::pid_of_pidfd(pidfd->get()).value(), ::getpid());
}

TEST(Peer, ByNumberRefusesAnotherUserAndAClosedConnection) {
  auto [here, there] = channel_pair();
  EXPECT_EQ(peer_pidfd_by_number(here.fd(), ::getpid(), ::geteuid() + 1).error().code, ESRCH);
  EXPECT_EQ(peer_pidfd_by_number(here.fd(), 0, ::geteuid()).error().code, ESRCH);
  there.close();
  EXPECT_EQ(peer_pidfd_by_number(here.fd(), ::getpid(), ::geteuid()).error().code, ESRCH);
}

TEST(Peer, ByNumberRefusesADeadProcess) {
  auto [here, there] = channel_pair();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(peer_pidfd_by_number(here.fd(), child, ::geteuid()).error().code, ESRCH) << "a zombie";
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(peer_pidfd_by_number(here.fd(), child, ::geteuid()).error().code, ESRCH) << "reaped";
}

TEST(Peer, OfNoSocketIsAnError) {
  auto [reader, writer] = pipe_pair();
  EXPECT_EQ(peer_of(reader.get()).error().code, ENOTSOCK);
}

}  // namespace
}  // namespace loopfs::varlink
