// One loop device: its state, who has it open, who claims it, its partitions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "instance/node.h"
#include "instance/settings.h"

namespace loopfs::instance {

enum class State : uint8_t {
  kFree,
  kBound,
  kRundown,  // cleared by LOOP_CLR_FD, its last opener is still there
};

struct Partition {
  uint64_t start = 0;  // bytes
  uint64_t size = 0;   // bytes
  std::string uuid, label;
};

// What the kernel keeps for each block device, whole disk and partition alike.
struct NodeCallse {
  unsigned openers = 0;
  bool claimed = false;            // by an O_EXCL open or a mount
  bool written = false;            // by what has the claim, and by nobody else who comes
  bool read_only = false;          // BLKROSET
  uint32_t soft_block_size = 512;  // BLKBSZGET
};

// A pure model: it makes no system call and takes no lock; the engine guards it. Partition 0 is the whole
// device, as in the kernel. Errors are those of drivers/block/loop.c, block/bdev.c, block/partitions/core.c.
class Device {
 public:
  Device(uint32_t number, uint64_t sequence) : number_(number), sequence_(sequence) {}

  uint32_t number() const { return number_; }
  State state() const { return state_; }
  bool bound() const { return state_ == State::kBound; }
  bool in_use() const { return state_ != State::kFree || whole_.openers > 0; }
  const Settings& settings() const { return settings_; }
  bool autoclear() const { return settings_.flags & LO_FLAGS_AUTOCLEAR; }
  bool partscan() const { return settings_.flags & LO_FLAGS_PARTSCAN; }
  bool direct_io() const { return settings_.flags & LO_FLAGS_DIRECT_IO; }
  uint64_t size() const { return size_; }  // bytes
  uint64_t size(uint32_t partition) const;
  uint64_t start(uint32_t partition) const;  // bytes
  uint32_t block_size() const { return block_size_; }
  uint64_t sequence() const { return sequence_; }
  bool has(uint32_t partition) const { return partition == 0 || partitions_.contains(partition); }

  // Everything whose node is opened counts as an opener of the whole device, too (disk_openers).
  unsigned openers() const { return whole_.openers; }
  const NodeCallse& node(uint32_t partition) const;
  bool read_only(uint32_t partition) const;
  void set_read_only(uint32_t partition, bool read_only) { node_of(partition).read_only = read_only; }

  // open(2). Errors: EBUSY claimed, or `write` of what refuses writers; ENXIO in rundown or no such partition.
  Result<void> open(uint32_t partition, bool exclusive, bool write = false);

  // Until what has the claim closes. As the kernel does it without CONFIG_BLK_DEV_WRITE_MOUNTED.
  void refuse_writers(uint32_t partition) { node_of(partition).written = true; }

  // The last close of a device that is autoclear or in rundown leaves it in rundown with no opener: the
  // caller must then unbind() it. Returns whether that is so.
  [[nodiscard]] bool close(uint32_t partition, bool exclusive);

  // bd_may_claim: EBUSY if the node, the disk it is part of, or a part of it is claimed.
  Result<void> may_claim(uint32_t partition) const;

  // LOOP_CONFIGURE, in the kernel's order: a claim unless the handle has one, then the state. EBUSY.
  Result<void> may_bind(uint32_t partition, bool handle_exclusive) const;
  void bind(const Settings& settings, uint64_t size, uint32_t block_size, uint64_t sequence);

  // LOOP_CLR_FD: autoclear, and rundown if the caller is the only opener. ENXIO unless bound.
  Result<void> clear();
  void unbind(uint64_t sequence);
  // The end of the instance: autoclear. Returns, like close(), whether it must be unbound at once.
  [[nodiscard]] bool retire();

  // For the ioctls on a bound device. Errors: ENXIO.
  Result<void> require_bound() const;

  void set_settings(const Settings& settings) { settings_ = settings; }
  void set_size(uint64_t size) { size_ = size; }
  void set_block_size(uint32_t size) { block_size_ = size; }
  void set_sequence(uint64_t sequence) { sequence_ = sequence; }

  // BLKBSZSET. Errors: EINVAL, EBUSY if somebody else has a claim.
  Result<void> set_soft_block_size(uint32_t partition, bool handle_exclusive, int64_t size);

  const std::map<uint32_t, Partition>& partitions() const { return partitions_; }
  // BLKRRPART. Errors: EINVAL without partscan, EBUSY.
  Result<void> may_rescan(bool handle_exclusive) const;
  bool partition_open() const;

  // BLKPG. Start and length in bytes. Errors: EINVAL, EBUSY overlap or exists, ENXIO.
  Result<void> add_partition(int64_t number, int64_t start, int64_t length);
  Result<void> delete_partition(int64_t number);
  Result<void> resize_partition(int64_t number, int64_t start, int64_t length);

  // After a scan, when none is open: what starts past the end is left out, what ends there is cut.
  // Partitions that stay as they are keep their node's state.
  void replace_partitions(const std::map<uint32_t, Partition>& scanned);

 private:
  NodeCallse& node_of(uint32_t partition);
  bool ends_now();
  Result<void> check_range(int64_t number, int64_t start, int64_t length) const;
  bool overlaps(uint64_t start, uint64_t length, uint32_t except) const;

  uint32_t number_;
  State state_ = State::kFree;
  Settings settings_;
  bool disk_read_only_ = false;  // GD_READ_ONLY: of the last LOOP_CONFIGURE
  uint64_t size_ = 0;
  uint32_t block_size_ = kSectorSize;
  uint64_t sequence_;
  NodeCallse whole_;
  std::map<uint32_t, Partition> partitions_;
  std::map<uint32_t, NodeCallse> partition_nodes_;
};

}  // namespace loopfs::instance
