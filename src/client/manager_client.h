// The client's side of io.loopfs.Manager.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "sys/loop_device.h"
#include "varlink/client.h"

namespace loopfs::client {

inline constexpr const char* kSocket = "/run/loopfs/io.loopfs.Manager";

struct MountOptions {
  std::optional<uint32_t> max, uid, gid, mode;
  bool whole_dev = false;  // it is to be mounted on /dev, and takes the other things that belong there
};

struct InstanceMount {
  uint64_t instance = 0;
  Fd mount;  // detached
};

struct FilesystemMount {
  engine::NodeId node;
  std::string type, options;
  uint64_t attributes = 0;  // MOUNT_ATTR_*; not of a remount
  bool read_only = false;
};

struct DeviceIoctl {
  unsigned command = 0;
  uint64_t value = 0;
  std::vector<uint8_t> bytes;
};

// Connects at the first call, and again when the daemon has been replaced. Thread-safe: one call at a time.
class ManagerClient {
 public:
  explicit ManagerClient(std::string socket) : socket_(std::move(socket)) {}

  // An instance of the calling process's user namespace, without devices of numbers that the process's mount table names.
  // Errors: EPERM, ENOSPC, those of connect(2).
  Result<InstanceMount> mount(const MountOptions& options);

  // Errors: ENOENT it has ended.
  Result<std::vector<engine::DeviceState>> devices(uint64_t instance);

  // None: by the daemon's configuration this is for a FUSE program to do. Errors: EPERM, EINVAL, the kernel's.
  Result<std::optional<Fd>> mount_filesystem(uint64_t instance, const FilesystemMount& wanted);

  // Errors: those of mount_filesystem; EBUSY files are open for writing.
  Result<void> remount_filesystem(uint64_t instance, const FilesystemMount& wanted);

  // What engine::IoctlRule::on_behalf() allows. `fd`: this process's descriptor of the device, or of a partition of it.
  // `bytes`: what the argument points to; none: it is `value`.
  Result<void> ioctl(uint64_t instance, uint32_t device, int fd, const DeviceIoctl& wanted);
  Result<void> edit_partition(uint64_t instance, uint32_t device, const sys::PartitionEdit& edit);

 private:
  // `again`: the call may be made once more if the daemon is replaced while it is at it.
  Result<varlink::Reply> call(const char* method, const varlink::Json& parameters, bool again = true);

  // The next answer says that the daemon has nothing of a mount any more that came with the one before, which would keep
  // it busy.
  void wait_until_let_go();

  const std::string socket_;
  std::mutex mutex_;  // guards client_
  std::optional<varlink::Client> client_;
};

}  // namespace loopfs::client
