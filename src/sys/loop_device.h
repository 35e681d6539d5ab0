// The kernel's own loop devices, as the host has them in /dev: loop(4), drivers/block/loop.c.
#pragma once

#include <linux/loop.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

constexpr uint32_t kLoopNumbers = 1 << 20;  // a kernel loop device's number is below this
// From here on we make none: these numbers are shown as those of free devices (DevicePool::kEndOfNumbers).
constexpr uint32_t kEndOfLoopDevices = kLoopNumbers - 4096;
// The last ones below are to try something on (probe_clears_at_last_close).
constexpr uint32_t kLoopDevicesToTry = 64;

// The kernel's own node, as all nodes here: of devtmpfs, whatever /dev is in this mount namespace.
Result<Fd> open_loop_control();

// LOOP_CTL_ADD. Errors: EEXIST.
Result<void> add_loop_device(int control, uint32_t number);
// LOOP_CTL_REMOVE; takes tens of milliseconds. Errors: EBUSY bound or open, ENODEV.
Result<void> remove_loop_device(int control, uint32_t number);
// LOOP_CTL_GET_FREE: makes one if there is none.
Result<uint32_t> free_loop_device(int control);

// open(2) of the host's node of the device, or of one of its partitions. `flags` as in open(2).
// Errors: ENOENT, ENXIO it is being unbound.
Result<Fd> open_loop_device(uint32_t number, uint32_t partition, int flags);

// LOOP_CONFIGURE. Errors: EBUSY, EINVAL, as the kernel's.
Result<void> configure_loop_device(int device, const loop_config& config);

// LOOP_CLR_FD. Newer kernels unbind at the last close only, older ones at once if nobody else has it open.
// Errors: ENXIO unbound.
Result<void> clear_loop_device(int device);

// BLKGETDISKSEQ: another number for each file that any device is bound to.
Result<uint64_t> disk_sequence(int device);
// BLKGETSIZE64, in bytes.
Result<uint64_t> size_of_block_device(int device);

// LOOP_GET_STATUS64: asks the backing file's file system, which may hang. Errors: ENXIO unbound.
Result<loop_info64> loop_status(int device);

// LOOP_SET_DIRECT_IO. Errors: EINVAL its file, or where it starts in it, does not allow that; ENXIO unbound;
// EPERM `device` is open for reading only, and the caller not root.
Result<void> set_direct_io(int device, bool on);

// BLKRRPART. Errors: EINVAL without LO_FLAGS_PARTSCAN, EBUSY a partition is in use.
Result<void> reread_partitions(int device);

// BLKPG. Errors: as the kernel's.
struct PartitionEdit {
  int operation = 0;  // BLKPG_*
  int number = 0;
  int64_t start = 0, length = 0;  // bytes
};
Result<void> edit_partition(int device, const PartitionEdit& edit);

// Reads, sectors read, ...: the counters of Documentation/block/stat.rst, in their order.
using IoStatistics = std::array<uint64_t, 17>;
IoStatistics loop_statistics(uint32_t number, uint32_t partition);

// The file's path as the kernel has it now, and " (deleted)" after it once it has no name; asks no file system.
std::string loop_backing_file(uint32_t number);

// What sysfs tells of a device, without asking its backing file's file system.
struct LoopFacts {
  bool autoclear = false, partscan = false, direct_io = false, read_only = false;
  uint64_t offset = 0, sizelimit = 0, size = 0;  // bytes
  uint32_t logical_block_size = 512, physical_block_size = 512, io_minimum = 512, io_optimal = 0;
  uint64_t discard_granularity = 0, read_ahead = 0;  // bytes
  bool rotational = false;
  uint64_t disk_sequence = 0;
};
// None: it is not bound, or is not there.
std::optional<LoopFacts> loop_facts(uint32_t number);

struct LoopPartition {
  dev_t device = 0;
  uint64_t start = 0, size = 0;  // bytes
  std::string uuid, label;
  bool read_only = false;
};
std::map<uint32_t, LoopPartition> loop_partitions(uint32_t number);

// Only which there are.
std::vector<uint32_t> loop_partition_numbers(uint32_t number);

// The device number of one of them. None: there is no such partition.
std::optional<dev_t> loop_partition_device(uint32_t number, uint32_t partition);

// Which loop device, or which partition of one, has the device number. None: it is none.
struct LoopName {
  uint32_t number = 0, partition = 0;
};
std::optional<LoopName> loop_device_of(dev_t device);
// "loop7", "loop7p1".
std::optional<LoopName> parse_loop_name(std::string_view name);

// The devices whose number is not below `first`, bound or not.
std::vector<uint32_t> loop_devices_from(uint32_t first);

// Something that can be read for as long as one binding of a device lasts, and never again: its "autoclear"
// in sysfs, which the kernel takes away when it unbinds.
class LoopBinding {
 public:
  static Result<LoopBinding> watch(uint32_t number);
  // The descriptor of one that another process watches.
  explicit LoopBinding(Fd attribute) : attribute_(std::move(attribute)) {}
  int descriptor() const { return attribute_.get(); }
  // None: unbound, for good.
  std::optional<bool> autoclear() const;
  bool bound() const { return autoclear().has_value(); }

 private:
  Fd attribute_;
};

}  // namespace loopfs::sys
