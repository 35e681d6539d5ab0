#include "engine/ioctl_rules.h"

#include <linux/blkpg.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/loop.h>

#include <algorithm>

#include "sys/uapi.h"

namespace loopfs::engine {
namespace {

constexpr bool kFreeToo = true, kSupervised = true;
constexpr Right kAnyone = Right::kAnyone, kWriter = Right::kWriter, kAdmin = Right::kAdmin;
// 128 MiB of read-ahead: what is read ahead is memory of the machine's.
constexpr uint64_t kMostReadAhead = 1 << 18;  // sectors

// As drivers/block/loop.c and block/ioctl.c have it.
constexpr IoctlRule kRules[] = {
    // Of loop-control.
    {LOOP_CTL_ADD, kAnyone, kFreeToo},
    {LOOP_CTL_REMOVE, kAnyone, kFreeToo},
    {LOOP_CTL_GET_FREE, kAnyone, kFreeToo},
    // Of loop devices.
    {LOOP_CONFIGURE, kAnyone, kFreeToo, kSupervised},
    {LOOP_SET_FD, kAnyone, kFreeToo, kSupervised},
    {LOOP_CHANGE_FD, kAnyone, kFreeToo},
    {LOOP_CLR_FD, kAnyone},
    {LOOP_GET_STATUS, kAnyone, kFreeToo, kSupervised},
    {LOOP_GET_STATUS64, kAnyone, kFreeToo, kSupervised},
    {LOOP_SET_STATUS, kWriter, kFreeToo, kSupervised, Argument::kBytes, sizeof(loop_info)},
    {LOOP_SET_STATUS64, kWriter, kFreeToo, kSupervised, Argument::kBytes, sizeof(loop_info64)},
    {LOOP_SET_CAPACITY, kWriter, false, kSupervised, Argument::kValue},
    {LOOP_SET_DIRECT_IO, kWriter, false, kSupervised, Argument::kValue},
    {LOOP_SET_BLOCK_SIZE, kWriter, false, kSupervised, Argument::kValue},
    // Of block devices: what they are.
    {BLKGETSIZE, kAnyone, kFreeToo},
    {BLKGETSIZE64, kAnyone, kFreeToo},
    {compat_number(BLKGETSIZE64), kAnyone, kFreeToo},
    {BLKSSZGET, kAnyone, kFreeToo},
    {BLKPBSZGET, kAnyone, kFreeToo},
    {BLKIOMIN, kAnyone, kFreeToo},
    {BLKIOOPT, kAnyone, kFreeToo},
    {BLKALIGNOFF, kAnyone, kFreeToo},
    {BLKDISCARDZEROES, kAnyone, kFreeToo},
    {BLKSECTGET, kAnyone, kFreeToo},
    {BLKBSZGET, kAnyone, kFreeToo},
    {compat_number(BLKBSZGET)},
    {BLKROGET, kAnyone, kFreeToo},
    {BLKRAGET, kAnyone, kFreeToo},
    {BLKFRAGET, kAnyone, kFreeToo},
    {BLKROTATIONAL, kAnyone, kFreeToo},
    {BLKGETDISKSEQ, kAnyone, kFreeToo},
    {HDIO_GETGEO, kAnyone, kFreeToo, kSupervised},
    {BLKGETZONESZ, kAnyone, kFreeToo},
    {BLKGETNRZONES, kAnyone, kFreeToo},
    {BLKREPORTZONE, kAnyone, kFreeToo},
    {BLKRESETZONE, kAnyone, kFreeToo},
    {BLKOPENZONE, kAnyone, kFreeToo},
    {BLKCLOSEZONE, kAnyone, kFreeToo},
    {BLKFINISHZONE, kAnyone, kFreeToo},
    // What is set.
    {BLKBSZSET, kAdmin, kFreeToo, kSupervised, Argument::kBytes, sizeof(int)},
    {compat_number(BLKBSZSET), kAdmin},
    {BLKROSET, kAdmin, false, kSupervised, Argument::kBytes, sizeof(int)},
    {BLKRASET, kAdmin, false, kSupervised, Argument::kValue, 0, kMostReadAhead},
    {BLKFRASET, kAdmin, false, kSupervised, Argument::kValue, 0, kMostReadAhead},
    // What is done to the contents.
    {BLKFLSBUF, kAdmin, kFreeToo, kSupervised, Argument::kValue},
    {BLKDISCARD, kAnyone, kFreeToo},
    {BLKSECDISCARD, kAnyone, kFreeToo},
    {BLKZEROOUT, kAnyone, kFreeToo},
    // Partitions. The argument of BLKPG has pointers: EditPartition of io.loopfs.Manager.
    {BLKRRPART, kAdmin, kFreeToo, kSupervised, Argument::kValue},
    {BLKPG, kAdmin, kFreeToo, kSupervised},
};

}  // namespace

std::span<const IoctlRule> ioctl_rules() {
  return kRules;
}

const IoctlRule* find_ioctl(unsigned command) {
  const auto* rule = std::ranges::find(kRules, command, &IoctlRule::command);
  return rule == std::end(kRules) ? nullptr : rule;
}

}  // namespace loopfs::engine
