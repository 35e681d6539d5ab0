// What a stranger has, as far as anybody may touch it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "porter/kernel_mount.h"
#include "porter/porters.h"

namespace loopfs::porter {

// Whose strangers they are: the porters that are used for them are charged to that account.
struct Account {
  Porters* porters = nullptr;              // borrowed
  std::function<Result<Permit>()> permit;  // for one more porter; may be unset
  dev_t instance = 0;                      // st_dev of the owner's instance
  bool fuse_backing = false;               // whether files of FUSE file systems may be bound

  Result<Errand> begin() const;
};

// A call whose argument is a value, or bytes that are only read.
struct DeviceIoctl {
  unsigned command = 0;
  uint64_t value = 0;
  std::vector<std::byte> bytes;  // none: `value` is the argument
};

// A descriptor of a stranger's. It is never one of ours: a porter has it, which this class alone speaks to, and which may
// hang in whatever is done with the file, its close(2) included, while we go on.
class ForeignFile {
 public:
  // Descriptor `number` of the thread, to be a device's backing file: a regular file or a block device of which the
  // kernel can ask what it likes. Errors: EBADF, EINVAL, EOPNOTSUPP a FUSE file system, or an overlay that may have one
  // below; EIO its file system does not answer; EDQUOT, EAGAIN too many do not.
  static Result<ForeignFile> take(const Account& account, pid_t tid, int number);
  // Of any kind, to ask one thing of.
  static Result<ForeignFile> take_any(const Account& account, pid_t tid, int number);

  // st_dev and st_ino.
  const FileFacts& facts() const { return facts_; }

  // LOOP_CONFIGURE and LOOP_CHANGE_FD of `device` (borrowed) with the file. May take as long as the file's fsync(2).
  // Errors: the kernel's.
  Result<void> bind_to(int device, const loop_config& config);
  Result<void> change_to(int device);
  // Whether `device` is bound to it.
  bool is_behind(int device);
  // ioctl(2) on it, with the rights of root of the machine, if it is open on the disk with that sequence number, or on a
  // partition of it. `hangup`: as Errand::ask. Errors: EINVAL another device; the kernel's.
  Result<void> ioctl(uint64_t disk_sequence, const DeviceIoctl& call, int hangup);

 private:
  explicit ForeignFile(Errand errand) : errand_(std::move(errand)) {}
  Result<void> with_device(Act act, int device, const loop_config& config);

  Errand errand_;
  FileFacts facts_;
};

// process_vm_readv and process_vm_writev, by a porter: the memory may be a mapping of a file of the stranger's own.
// Errors: EFAULT.
Result<void> read_memory(const Account& account, pid_t tid, uint64_t address, std::span<std::byte> bytes);
Result<void> write_memory(const Account& account, pid_t tid, uint64_t address,
                          std::span<const std::byte> bytes);

// LOOP_CLR_FD of the host's loop device `number`, if its disk has the sequence number still. To open it may take as long as
// whoever closes it, or its backing file, likes. Errors: ESTALE it has another; EIO no answer; ENXIO.
Result<void> clear_device(Porters& porters, uint32_t number, uint64_t disk_sequence);

// A mount that is in a porter's hands, too, so that its last close, which may write out, is not ours.
struct ForeignMount {
  Errand errand;
  Fd mount;  // detached; closed first
};
struct MountOrder {
  KernelMount mount;
  int device = -1;  // kept open meanwhile; borrowed
  int hangup = -1;  // as Errand::ask
};
// Errors: those of make_kernel_mount: the kernel reads the stranger's image.
Result<ForeignMount> mount_filesystem(const Account& account, const MountOrder& order);
// Errors: those of reconfigure_kernel_mount.
Result<void> remount_filesystem(const Account& account, const MountOrder& order);

}  // namespace loopfs::porter
