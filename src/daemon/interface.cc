#include "daemon/interface.h"

namespace loopfs::daemon {

const char kDescription[] = R"(# Private loop devices for containers. Numbers of users and groups are
# those of the caller's user namespace where a method takes them, and of the daemon's where it returns them.
# Errors of the system carry "errno" and "message".
interface io.loopfs.Manager

type Partition (
  number: int,
  device: int,
  start: int,
  size: int,
  uuid: string,
  label: string,
  read_only: bool,
  statistics: []int
)

# kernel_device: the host's name of the device, "loop100003"; absent while the device is free. What is not UTF-8 in
# backing_file and label is written as "\xNN". statistics: as in the file "stat" of sysfs.
type Device (
  number: int,
  kernel_device: ?string,
  device: int,
  backing_file: ?string,
  size: int,
  offset: int,
  sizelimit: int,
  logical_block_size: int,
  physical_block_size: int,
  io_minimum: int,
  io_optimal: int,
  discard_granularity: int,
  read_ahead: int,
  rotational: bool,
  disk_sequence: int,
  statistics: []int,
  read_only: bool,
  autoclear: bool,
  partscan: bool,
  direct_io: bool,
  partitions: []Partition
)

# owner: who made the container's user namespace; root_uid: root in it. user_namespace: its inode number.
type Instance (
  id: int,
  owner: int,
  root_uid: int,
  user_namespace: int,
  max: int,
  devices: []Device
)

type Limit (user_namespace: int, uid: int, used: int, limit: ?int)

# A new instance, as a detached mount, which comes with the reply. It lives as long as that mount. whole_dev: it is to be
# mounted on /dev, takes up to 256 directories, links and empty files besides its nodes, and has two devices at once.
# taken: numbers of devices that it is not to have.
method Mount(max: ?int, uid: ?int, gid: ?int, mode: ?int, whole_dev: ?bool, taken: ?[]int) -> (instance: int)

# The caller's instances; root of the machine sees all. instance: only this one.
method List(instance: ?int) -> (instances: []Instance)

# A file system of the kernel's on a device of the caller's instance, where the configuration lets the caller
# have it: a detached mount, idmapped to the instance's user namespace, comes with the reply. attributes:
# MOUNT_ATTR_*, of which nosuid and nodev are always there, and locked, as the access times are. mounted: false: by the
# configuration, its type, or since the kernel cannot, this is for a FUSE program to do.
method MountFilesystem(
  instance: int,
  device: int,
  partition: int,
  type: string,
  options: string,
  attributes: int,
  read_only: bool
) -> (mounted: bool)

# What was mounted so becomes read-only or writable, and gets other options. For all mounts of the device, as always.
method RemountFilesystem(
  instance: int,
  device: int,
  partition: int,
  type: string,
  options: string,
  read_only: bool
) -> ()

# An ioctl on a device of the caller's instance, or on a partition of it, that the kernel refuses to user namespaces:
# BLKRRPART, BLKBSZSET, BLKFLSBUF, BLKROSET, BLKRASET, BLKFRASET, and without a writable descriptor LOOP_SET_STATUS,
# LOOP_SET_STATUS64, LOOP_SET_CAPACITY, LOOP_SET_DIRECT_IO, LOOP_SET_BLOCK_SIZE. descriptor: of the node, in the process
# that connected; its claim and mode are what the kernel goes by. value: the argument; bytes: what it points to.
method Ioctl(
  instance: int,
  device: int,
  descriptor: int,
  command: int,
  value: ?int,
  bytes: ?[]int
) -> ()

# LOOP_CHANGE_FD. file: a descriptor in the process that connected.
method ChangeFile(instance: int, device: int, file: int) -> ()

# BLKPG. operation: 1 add, 2 delete, 3 resize; start and length in bytes.
method EditPartition(
  instance: int,
  device: int,
  operation: int,
  partition: int,
  start: int,
  length: int
) -> ()

# With "more": every change from now on. what: mount, unmount, add, bind, clear, remove.
method Events() -> (
  what: string,
  instance: int,
  device: ?int,
  kernel_device: ?string,
  microseconds: int,
  lost: int
)

# What is counted, in "devices" and "instances".
method Limits() -> (devices: []Limit, instances: []Limit)

# Root of the machine only. limit: none for the configured one.
method SetLimit(kind: string, uid: int, limit: ?int) -> ()

method Counts() -> (
  instances: int,
  devices: int,
  bound: int,
  lingering: int,
  mounts_total: int,
  binds_total: int,
  clears_total: int,
  refusals_total: int
)

error System (errno: int, message: string)
)";

}  // namespace loopfs::daemon
