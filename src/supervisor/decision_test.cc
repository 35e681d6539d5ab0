#include "supervisor/decision.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace loopfs::supervisor {
namespace {

const std::set<std::string> kVirtual = {"proc", "tmpfs", "overlay", "fuse"};

TEST(DecideMount, OnlyWhatMayBeADeviceIsLookedAt) {
  EXPECT_EQ(decide_mount(0, "ext4", kVirtual), Decision::kMount);
  EXPECT_EQ(decide_mount(MS_RDONLY | MS_NOSUID, "squashfs", kVirtual), Decision::kMount);
  EXPECT_EQ(decide_mount(0, "proc", kVirtual), Decision::kContinue);
  EXPECT_EQ(decide_mount(0, "", kVirtual), Decision::kContinue);
  EXPECT_EQ(decide_mount(0, "fuse.sshfs", kVirtual), Decision::kContinue);
  EXPECT_EQ(decide_mount(0, "fuseblk", kVirtual), Decision::kMount);
  EXPECT_EQ(decide_mount(0, "fuseblk.ntfs", kVirtual), Decision::kContinue);
}

TEST(DecideMount, MountsOfMountsAreTheKernels) {
  for (const unsigned long flag : {MS_MOVE, MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE}) {
    EXPECT_EQ(decide_mount(flag | MS_REC, "ext4", kVirtual), Decision::kContinue);
  }
  EXPECT_EQ(decide_mount(MS_BIND | MS_REC, "none", kVirtual), Decision::kBind);
  EXPECT_EQ(decide_mount(MS_REMOUNT | MS_BIND | MS_RDONLY, "", kVirtual), Decision::kContinue);
  EXPECT_EQ(decide_mount(MS_REMOUNT | MS_RDONLY, "", kVirtual), Decision::kRemount);
}

TEST(DecideMount, TheMagicNumberIsNoFlag) {
  EXPECT_EQ(decide_mount(0xC0ED0000 | MS_RDONLY, "ext4", kVirtual), Decision::kMount);
  EXPECT_EQ(without_magic(0xC0ED0001), 1u);
  EXPECT_EQ(without_magic(MS_SHARED), uint64_t{MS_SHARED});
}

TEST(DecideMount, TheQuestionNeverReachesTheKernel) {
  EXPECT_EQ(decide_mount(0, "loopfs.supervisor", kVirtual), Decision::kQuestion);
}

TEST(VirtualTypes, AreTheNodevLines) {
  EXPECT_EQ(parse_virtual_types("nodev\tproc\n\text4\nnodev\ttmpfs\n"),
            (std::set<std::string>{"proc", "tmpfs"}));
}

TEST(DeviceTypes, AreTheOtherLines) {
  EXPECT_EQ(parse_device_types("nodev\tproc\n\text4\nnodev\ttmpfs\n\tvfat\n"),
            (std::set<std::string>{"ext4", "vfat"}));
}

TEST(RewriteProcSelf, NamesTheCaller) {
  EXPECT_EQ(rewrite_proc_self("/proc/self/fd/5", 7, 9), "/proc/7/fd/5");
  EXPECT_EQ(rewrite_proc_self("/proc/thread-self/cwd", 7, 9), "/proc/7/task/9/cwd");
  EXPECT_EQ(rewrite_proc_self("/dev/fd/5", 7, 9), "/proc/7/fd/5");
  EXPECT_EQ(rewrite_proc_self("/proc/selfish", 7, 9), "/proc/selfish");
  EXPECT_EQ(rewrite_proc_self("/dev/loop0", 7, 9), "/dev/loop0");
}

}  // namespace
}  // namespace loopfs::supervisor
