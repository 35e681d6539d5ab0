#include "cli/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

namespace loopfs::cli {
namespace {

using testing::HasSubstr;
using State = Finding::State;

MachineFacts good_machine() {
  MachineFacts facts;
  facts.fuse_mode = 0666;
  facts.user = "ann";
  facts.ids.uid = facts.ids.gid = 1000;
  facts.ids.user_map = facts.ids.group_map = {{0, 0, 4294967295U}};
  facts.ids.subordinate_users = facts.ids.subordinate_groups = {{100000, 65536}};
  facts.ids.helpers_work = true;
  facts.programs = {{"ext4", "fuse2fs", "fuse2fs", true}};
  facts.daemon = {.socket = "/s", .version = "1.2.3", .clears_at_last_close = true};
  return facts;
}

Finding about(const MachineFacts& facts, const std::string& subject) {
  for (const Finding& finding : judge(facts)) {
    if (finding.subject == subject) return finding;
  }
  ADD_FAILURE() << "nothing about " << subject;
  return {};
}

void expect(const MachineFacts& facts, const std::string& subject, State state, const std::string& remedy) {
  const Finding finding = about(facts, subject);
  EXPECT_EQ(finding.state, state) << subject;
  EXPECT_THAT(finding.remedy, HasSubstr(remedy)) << subject;
}

TEST(Doctor, NothingToSayOnAGoodMachine) {
  for (const Finding& finding : judge(good_machine())) {
    EXPECT_EQ(finding.state, State::kOk) << finding.subject << ": " << finding.detail;
    EXPECT_EQ(finding.remedy, "") << finding.subject;
  }
  EXPECT_THAT(report(judge(good_machine())), HasSubstr("`loopfs run` works here.\n"));
}

TEST(Doctor, EachLackHasARemedy) {
  MachineFacts facts = good_machine();
  facts.fuse_open = EACCES;
  facts.namespaces = {EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM, EPERM};
  facts.foreign = {EPERM, EPERM, EPERM};
  facts.notify = {ENOSYS, ENOSYS};
  facts.ids.helpers_work = false;
  facts.config_error = "line 1: no";
  facts.programs = {{"ext4", "fuse2fs", "fuse2fs", false}};
  for (const Finding& finding : judge(facts)) {
    EXPECT_EQ(finding.state == State::kOk, finding.remedy.empty()) << finding.subject;
  }
  EXPECT_THAT(report(judge(facts)), HasSubstr("`loopfs run` cannot work here.\n"));
}

TEST(Doctor, FuseDevice) {
  MachineFacts facts = good_machine();
  facts.fuse_open = EACCES;
  facts.fuse_mode = 0600;
  expect(facts, "/dev/fuse", State::kMissing, "chmod 666 /dev/fuse");
  EXPECT_THAT(about(facts, "/dev/fuse").detail, HasSubstr("0600"));
  facts.fuse_mode = 0666;
  expect(facts, "/dev/fuse", State::kMissing, "nodev");
  facts.fuse_open = ENOENT;
  expect(facts, "/dev/fuse", State::kMissing, "modprobe fuse");
  facts.namespaces.mount_fuse = facts.namespaces.clone_fuse = ENOENT;
  expect(facts, "FUSE in a user namespace", State::kMissing, "see /dev/fuse");
}

TEST(Doctor, UserNamespaces) {
  MachineFacts facts = good_machine();
  facts.namespaces = {ENOSPC, ENOSPC, ENOSPC, ENOSPC, ENOSPC};
  facts.sysctls.most_user_namespaces = 0;
  expect(facts, "user namespaces", State::kMissing, "user.max_user_namespaces=");
  facts.namespaces = {EPERM, EPERM, EPERM, EPERM, EPERM};
  facts.sysctls.most_user_namespaces = 1000;
  facts.sysctls.unprivileged_userns_clone = 0;
  expect(facts, "user namespaces", State::kMissing, "kernel.unprivileged_userns_clone=1");
  facts.sysctls.unprivileged_userns_clone = 1;
  expect(facts, "user namespaces", State::kMissing, "seccomp");
}

TEST(Doctor, AppArmorLetsTheNamespaceBeMadeButNothingInIt) {
  MachineFacts facts = good_machine();
  facts.apparmor = true;
  facts.sysctls.apparmor_restricts_userns = 1;
  facts.namespaces = {0, EACCES, EACCES, EACCES, EACCES};
  expect(facts, "user namespaces", State::kMissing, "apparmor_restrict_unprivileged_userns=0");
  expect(facts, "AppArmor", State::kMissing, "user namespaces");
  facts.namespaces = {};
  expect(facts, "AppArmor", State::kOk, "");
}

TEST(Doctor, OldKernel) {
  MachineFacts facts = good_machine();
  facts.namespaces.mount_api = ENOSYS;
  expect(facts, "user namespaces", State::kOk, "");
  expect(facts, "mount API", State::kMissing, "5.6");
  facts.namespaces.mount_api = 0;
  facts.namespaces.attributes = ENOSYS;  // 5.10
  expect(facts, "mount API", State::kLacking, "5.12");
}

TEST(Doctor, MaskedProc) {
  MachineFacts facts = good_machine();
  facts.namespaces.mount_proc = EPERM;
  expect(facts, "proc in a pid namespace", State::kMissing, "unmask=ALL");
}

TEST(Doctor, ForeignSupervisorIsNoObstacle) {
  MachineFacts facts = good_machine();
  facts.notify.listener = facts.notify.wait_killable = EBUSY;
  expect(facts, "seccomp notification", State::kLacking, "outside");
  facts.notify = {0, EINVAL};
  expect(facts, "seccomp notification", State::kOk, "");
}

TEST(Doctor, Yama) {
  MachineFacts facts = good_machine();
  facts.foreign = {EPERM, EPERM, EPERM};
  facts.sysctls.ptrace_scope = 3;
  expect(facts, "pidfd_getfd", State::kMissing, "ptrace_scope");
}

// Docker's default profile with CAP_SYS_ADMIN.
TEST(Doctor, ASeccompProfileThatForbidsToReachACaller) {
  MachineFacts facts = good_machine();
  facts.foreign.take_fd = EPERM;
  expect(facts, "pidfd_getfd", State::kMissing, "--cap-add SYS_PTRACE");
  expect(facts, "process_vm_readv", State::kOk, "");
}

TEST(Doctor, WithoutPivotRootThereIsChroot) {
  MachineFacts facts = good_machine();
  facts.namespaces.pivot_root = EINVAL;
  expect(facts, "root of FUSE programs", State::kOk, "");
  EXPECT_THAT(about(facts, "root of FUSE programs").detail, HasSubstr("chroot"));
  facts.namespaces.cover_root = EPERM;
  expect(facts, "root of FUSE programs", State::kLacking, "seccomp=unconfined");
}

TEST(Doctor, SubordinateIds) {
  MachineFacts facts = good_machine();
  facts.ids.helpers_work = false;
  expect(facts, "subordinate ids", State::kLacking, "as root: apt-get install uidmap");
  facts.ids.helpers_work = true;
  facts.ids.subordinate_groups.clear();
  expect(facts, "subordinate ids", State::kLacking, "as root: usermod");
  facts.ids.uid = facts.ids.gid = 0;
  expect(facts, "subordinate ids", State::kOk, "");
}

TEST(Doctor, Programs) {
  MachineFacts facts = good_machine();
  facts.programs = {{"squashfs", "squashfuse", "squashfuse", false}, {"erofs", "erofsfuse", "", false}};
  expect(facts, "squashfuse", State::kLacking, "apt-get install squashfuse");
  expect(facts, "erofsfuse", State::kLacking, "install erofsfuse");
  EXPECT_THAT(report(judge(facts)), HasSubstr("works here, without what is lacking"));
}

TEST(Doctor, TheDaemonIsNotNeededByRun) {
  MachineFacts facts = good_machine();
  EXPECT_THAT(about(facts, "loopfsd").detail, HasSubstr("1.2.3"));
  facts.daemon = {.socket = "/s", .connect = ENOENT, .loop_control = ENOENT};
  EXPECT_THAT(about(facts, "loopfsd").detail, HasSubstr("not running"));
  expect(facts, "loopfsd", State::kAside, "");
  expect(facts, "/dev/loop-control", State::kAside, "modprobe loop");
  expect(facts, "clearing in use", State::kAside, "");
  EXPECT_THAT(report(judge(facts)), HasSubstr("`loopfs run` works here.\n"));
}

TEST(Doctor, ADaemonThatDoesNotAnswer) {
  MachineFacts facts = good_machine();
  facts.daemon.answer = EAGAIN;
  expect(facts, "loopfsd", State::kAside, "log");
  EXPECT_EQ(about(facts, "loopfsd").detail, "'/s': no answer");
  facts.daemon = {.socket = "/s", .connect = EACCES, .clears_at_last_close = false};
  EXPECT_EQ(about(facts, "loopfsd").detail, "'/s': Permission denied");
  expect(facts, "clearing in use", State::kAside, "6.11");
  facts.daemon = {.socket = "/s", .clears_error = EAGAIN};
  expect(facts, "clearing in use", State::kAside, "try again");
}

}  // namespace
}  // namespace loopfs::cli
