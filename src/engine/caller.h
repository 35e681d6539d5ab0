// The process that asks for something, as the engine may see it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "instance/node.h"

namespace loopfs::engine {

// Everything behind this interface belongs to a hostile process: memory may change between two reads, so
// each argument is read once; descriptors may be of any kind. The real one is fusefs::RemoteCaller; tests
// use a fake.
class Caller {
 public:
  virtual ~Caller() = default;

  // Copies from or to the caller's memory. Errors: EFAULT if any byte of the range is not mapped so.
  virtual Result<void> read(uint64_t address, std::span<std::byte> bytes) const = 0;
  virtual Result<void> write(uint64_t address, std::span<const std::byte> bytes) const = 0;

  // For who reaches the caller in another way; 0: nobody can.
  virtual pid_t thread() const { return 0; }

  // A duplicate of the caller's descriptor. Errors: EBADF.
  virtual Result<Fd> take_fd(int fd) const = 0;

  // The path of the caller's descriptor as the caller's mount namespace shows it (losetup's BACK-FILE).
  virtual std::string path_of_fd(int fd) const = 0;

  // A new open file description of the same file, in mode `flags` (O_RDONLY or O_RDWR, with O_DIRECT or
  // without), opened with the rights of the user namespace of the instance. Errors: those of open(2).
  virtual Result<Fd> reopen(int own_fd, int flags) const = 0;

  // fstat(2) of a descriptor from take_fd or reopen, with the rights of the user namespace of the instance: a
  // FUSE mount of the caller's own refuses us otherwise.
  virtual Result<struct stat> stat_of_fd(int own_fd) const {
    struct stat status = {};
    if (::fstat(own_fd, &status) != 0) return errno_fail("fstat");
    return status;
  }

  // The node of this instance that the descriptor (a duplicate, from take_fd) has open, if it has one. A
  // device on another device is served inside the engine: a server that reads its own mount waits for
  // itself. So the answer must come without a request to the mount.
  virtual std::optional<instance::NodeId> node_of_fd(int own_fd) const {
    (void)own_fd;
    return std::nullopt;
  }

  // The inode number that stat(2) of a node's path shows.
  virtual ino_t inode_of(const instance::NodeId& node) const {
    (void)node;
    return 0;
  }

  // CAP_SYS_ADMIN in the user namespace that owns the instance.
  virtual bool has_sys_admin() const = 0;
};

// An ioctl(2) of a caller on one of the nodes.
struct IoctlRequest {
  unsigned command = 0;
  uint64_t argument = 0;  // as passed: a value, or an address in the caller
  bool resent = false;    // an earlier server may have performed it already
  bool compat = false;    // from a 32-bit program (FUSE_IOCTL_COMPAT): `long` has four bytes
  // Where the command's number carries a size (_IOR, _IOW), the transport copies: `input` is what it read
  // at `argument`; what the engine puts into `output`, it writes there. At most _IOC_SIZE(command) bytes.
  // Where it carries none (LOOP_*, BLKSSZGET, ...), both are unused and the engine goes through Caller.
  std::span<const std::byte> input;
  std::vector<std::byte> output;
};

}  // namespace loopfs::engine
