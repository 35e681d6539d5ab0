// Who a peer is.
#include "daemon/tenant.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/pidfd.h"
#include "sys/procfs.h"

namespace loopfs::daemon {
namespace {

using Kind = policy::Owner::Kind;

constexpr sys::NamespaceId kFirst{4, 100}, kOuter{4, 101}, kInner{4, 102}, kOtherPids{4, 200};

sys::NamespaceId own_pids() {
  return sys::pid_namespace_of(::getpid()).value();
}

// The child of `uid`'s namespace, in that.
Lineage nested(uid_t uid) {
  return {.chain = {{kInner, 100005}, {kOuter, 100000}, {kFirst, uid}}, .owner = uid};
}
const Lineage kFirstLineage{.chain = {{kFirst, 0}}, .owner = 0, .first_namespace = true};

TEST(OwnerOf, AnInstanceIsTheOutermostNamespacesOwner) {
  EXPECT_EQ(owner_of(kFirstLineage, own_pids()), (policy::Owner{Kind::kMachine, 0}));
  EXPECT_EQ(owner_of(kFirstLineage, kOtherPids), (policy::Owner{Kind::kPlainContainer, 200}));
  EXPECT_EQ(owner_of(nested(1000), own_pids()), (policy::Owner{Kind::kUser, 1000}));
  EXPECT_EQ(owner_of(nested(1000), kOtherPids), (policy::Owner{Kind::kUser, 1000}));
  EXPECT_EQ(owner_of(nested(0), kOtherPids), (policy::Owner{Kind::kContainer, 101}));
}

TEST(OwnerOf, ATenantOfTheFirstNamespaceIsHisUser) {
  Tenant tenant;
  tenant.lineage = kFirstLineage;
  tenant.pid_namespace = own_pids();
  tenant.on_host = true;
  tenant.admin = true;
  EXPECT_EQ(owner_of(tenant).kind, Kind::kMachine);
  tenant.admin = false;
  EXPECT_EQ(owner_of(tenant), (policy::Owner{Kind::kUser, 0})) << "no root of the machine's without rights";
  tenant.uid = 1000;
  EXPECT_EQ(owner_of(tenant), (policy::Owner{Kind::kUser, 1000}));
  tenant.pid_namespace = kOtherPids;
  tenant.on_host = false;
  EXPECT_EQ(owner_of(tenant), (policy::Owner{Kind::kUser, 1000})) << "any number of pid namespaces";
  tenant.uid = 0;
  EXPECT_EQ(owner_of(tenant), (policy::Owner{Kind::kPlainContainer, 200}));
  tenant.lineage = nested(1000);
  EXPECT_EQ(owner_of(tenant), (policy::Owner{Kind::kUser, 1000}));
}

varlink::Peer peer_with(pid_t pid) {
  return {.pid = pid, .uid = ::geteuid(), .gid = ::getegid(), .pidfd = sys::pidfd_of_process(pid).value()};
}

TEST(TenantOf, TellsWhoThisProcessIs) {
  const auto tenant = tenant_of(peer_with(::getpid()));
  if (!tenant && tenant.error().code == EPERM) GTEST_SKIP() << "in a user namespace without root";
  ASSERT_TRUE(tenant) << tenant.error().message();
  EXPECT_EQ((*tenant)->uid, ::geteuid());
  EXPECT_TRUE((*tenant)->on_host);
  EXPECT_EQ((*tenant)->id, sys::user_namespace_of(::getpid()).value());
  EXPECT_EQ((*tenant)->id, (*tenant)->lineage.chain.front().user_namespace);
  auto other = peer_with(::getpid());
  other.uid = 4711;  // as if it had been that at connect(2), and become root since
  EXPECT_FALSE(tenant_of(other).value()->admin);
}

TEST(TenantOf, AProcessThatIsGoneIsNobody) {
  const pid_t child = ::fork();
  if (child == 0) ::pause();
  const auto peer = peer_with(child);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(tenant_of(peer).error().code, ESRCH);
  const varlink::Peer reused{.pid = ::getpid(), .pidfd = Fd(::dup(peer.pidfd.get()))};
  EXPECT_EQ(tenant_of(reused).error().code, ESRCH) << "its number is another's now";
}

TEST(TenantOf, ANamespaceWithoutRootIsNobodys) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const char word = ::unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    (void)!::write(ends[1], &word, 1);
    ::pause();
  }
  char word = 0;
  ASSERT_EQ(::read(ends[0], &word, 1), 1);
  const auto tenant = tenant_of(peer_with(child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  if (word != 'y') GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(tenant.error().code, EPERM);
}

}  // namespace
}  // namespace loopfs::daemon
