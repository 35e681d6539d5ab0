// What stands behind the nodes of an instance. The FUSE layer, the views and the supervisor know only this.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "engine/caller.h"
#include "instance/node.h"
#include "sys/loop_device.h"
#include "sys/procfs.h"

namespace loopfs::engine {

using instance::NodeId;

struct NodeAttributes {
  NodeId id;
  dev_t device = 0;    // st_rdev: 10:237 of loop-control, 7:N of loopN, 259:x of loopNpM
  uint64_t size = 0;   // bytes; 0 for a free device and for loop-control
  mode_t mode = 0600;  // permission bits only
  uid_t uid = 0;       // as the instance's user namespace numbers them
  gid_t gid = 0;
  timespec changed = {};
  // The node is a kernel loop device, whose number `device` is: opening it leads there, not to the engine.
  // Tells this number from all others that the node has had, and one binding of the device from others: a path
  // walk's result leads to the number it was found with for good. The lowest 20 bits alone tell the number.
  std::optional<uint64_t> binding = {};
};

struct AttributeChange {
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
};

struct OpenOptions {
  bool read = false;
  bool write = false;
  bool exclusive = false;  // O_EXCL: claims the device as a mount does
  bool direct = false;     // O_DIRECT: offsets and sizes must be multiples of the logical block size
  uint64_t handle = 0;     // the server's number for the open file description, where it has them
};

// The kernel sends RELEASE right after the FLUSH that announced it (OpenNode::descriptor_closing); a busy machine may
// take some time, seen was 50 ms, to let a thread of ours read it. A descriptor that was not the last one costs this
// wait once, and only who depends on the answer.
inline constexpr std::chrono::milliseconds kReleaseTime{200};

// One open file description of a node. Thread-safe; the destructor is the last close.
class OpenNode {
 public:
  virtual ~OpenNode() = default;

  virtual NodeId id() const = 0;

  // As on a block device: reads end at the end of the device (0 there), writes past it are cut short, and
  // ENOSPC where not a byte fits. EBADF if not open for it; EIO as loop.c gives it.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) = 0;
  virtual Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Returns once everything written through any handle of this device is on stable storage.
  virtual Result<void> sync(bool data_only) = 0;

  // fallocate(2) as blkdev_fallocate has it.
  virtual Result<void> allocate(int mode, uint64_t offset, uint64_t length) = 0;

  // ioctl(2). The value is the call's return value (LOOP_CTL_ADD returns a number).
  virtual Result<int> ioctl(IoctlRequest& request, const Caller& caller) = 0;

  // One of the descriptors of this open file description is being closed. If it was the last, the
  // destructor follows at once: Engine::snapshot() and name lookups wait a moment for it, so that
  // `losetup -d` followed by `losetup -a` never sees a state in between.
  virtual void descriptor_closing() = 0;
};

struct PartitionState {
  uint32_t number = 0;  // M of loopNpM
  dev_t device = 0;
  uint64_t start = 0;       // bytes from the start of the device
  uint64_t size = 0;        // bytes
  std::string uuid, label;  // PARTUUID and PARTLABEL, may be empty
  bool read_only = false;
  sys::IoStatistics statistics = {};
};

struct DeviceState {
  uint32_t number = 0;
  dev_t device = 0;
  bool bound = false;  // false also in rundown
  bool read_only = false;
  bool autoclear = false;
  bool partscan = false;
  bool direct_io = false;
  uint64_t size = 0;       // bytes
  uint64_t offset = 0;     // bytes
  uint64_t sizelimit = 0;  // bytes; 0: none
  uint32_t logical_block_size = 512;
  uint32_t physical_block_size = 512;
  uint32_t io_minimum = 512;
  uint32_t io_optimal = 0;
  uint32_t discard_granularity = 0;  // bytes; 0: no discard
  bool rotational = false;
  uint64_t read_ahead = 128 << 10;  // bytes
  uint64_t disk_sequence = 0;
  sys::IoStatistics statistics = {};  // with those of its partitions
  std::string backing_file;           // the path as the instance's users see it
  std::vector<PartitionState> partitions;
};

// A file system's claim on a device or partition, for as long as the object lives: counts as an open, and
// excludes O_EXCL opens, as a kernel mount does.
class MountHold {
 public:
  virtual ~MountHold() = default;
  virtual NodeId id() const = 0;
  virtual int backing_fd() const = 0;         // borrowed
  virtual uint64_t offset() const = 0;        // bytes in the backing file where the device starts
  virtual uint64_t size() const = 0;          // bytes
  virtual uint64_t backing_size() const = 0;  // bytes of the backing file
  virtual bool read_only() const = 0;         // the device is
  virtual uint32_t logical_block_size() const = 0;
  // Who opens the node for writing from here on gets EBUSY, if the engine can: the file system's server does not see what
  // others write, as the kernel's own would, and writes its own over half of it.
  virtual void refuse_writers() {}
};

// Told of changes, without any lock held, on the thread that made the change and before its call returns.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void node_added(NodeId) {}
  virtual void node_removed(NodeId) {}
  // The bytes behind the node changed other than by writes through it: caches of it are stale.
  virtual void contents_changed(NodeId) {}
};

class Engine {
 public:
  virtual ~Engine() = default;

  // The device or partition whose st_rdev this is.
  virtual std::optional<NodeId> node_of_device(dev_t device);

  // Observers must outlive the engine, and are added before the first request.
  virtual void add_observer(Observer* observer) = 0;

  virtual std::vector<NodeId> nodes() = 0;
  virtual std::optional<NodeAttributes> attributes(NodeId id) = 0;
  virtual Result<void> change_attributes(NodeId id, const AttributeChange& change) = 0;

  // unlink(2) of the node: as LOOP_CTL_REMOVE. EPERM for loop-control and partitions.
  virtual Result<void> unlink(NodeId id) = 0;

  virtual Result<std::unique_ptr<OpenNode>> open(NodeId id, const OpenOptions& options) = 0;

  // A thread that is about to open a node that is a kernel loop device.
  struct Visitor {
    pid_t tid = 0;
    std::optional<sys::SystemCall> call = {};  // that it is in; none: unknown
    bool in_open = false;  // which is one of open(2)'s kind, and returns when it has opened
  };
  // Until it has done so, or is past it, the device stays what it is. May block.
  // Errors: ESTALE it is bound to something else by now, ENXIO it is being unbound.
  virtual Result<void> admit(NodeId id, uint64_t binding, const Visitor& visitor) {
    (void)binding, (void)visitor;
    return fail(ENXIO, "open {}", id.name());
  }

  // The thread asks for something else by now. Returns when the device is kept for it no more.
  virtual void passed(pid_t tid) { (void)tid; }

  // For the views: every device, bound or not, lowest number first.
  virtual std::vector<DeviceState> snapshot() = 0;

  // The same for one device; none if there is none of that number.
  virtual std::optional<DeviceState> state(uint32_t number);

  // For a supervisor. Errors: EIO not bound (no superblock to read), ENXIO no such device, EBUSY exclusively open,
  // EACCES `write` on a read-only device, EOPNOTSUPP an engine that no supervisor uses.
  virtual Result<std::unique_ptr<MountHold>> hold_for_mount(NodeId id, bool write) {
    (void)write;
    return fail(EOPNOTSUPP, "mount {}", id.name());
  }
};

}  // namespace loopfs::engine
