// What a bound device reads and writes: a file, or another device of the same instance.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "engine/caller.h"
#include "engine/engine.h"
#include "instance/device.h"

namespace loopfs::engine {

// Thread-safe, used without the engine's lock; destroyed without it. Offsets are those of the file. The
// errors of I/O are what loop.c makes of the file's: see io_error.
class Backing {
 public:
  // As the container's stat(2) shows the file.
  struct Identity {
    dev_t device = 0;
    ino_t inode = 0;
    dev_t raw_device = 0;
  };
  // The innermost file and the part of it that this is: what a FUSE program can work on.
  struct Base {
    int fd = -1;  // borrowed
    uint64_t offset = 0;
    uint64_t size = 0;
  };

  virtual ~Backing() = default;

  // Short only at the end of the file.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) = 0;
  virtual Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual Result<void> sync(bool data_only) = 0;
  // Gives the range's space back; it reads as zeros. EOPNOTSUPP where the file cannot.
  virtual Result<void> punch(uint64_t offset, uint64_t length) = 0;
  // Makes the range read as zeros without taking its space away. EOPNOTSUPP where the file cannot.
  virtual Result<void> zero(uint64_t offset, uint64_t length) = 0;

  virtual Result<uint64_t> size() = 0;
  virtual bool writable() const = 0;
  virtual Identity identity() const = 0;
  virtual Base base() = 0;
  // Its path as the kernel has it now, and " (deleted)" after it once it has no name. Empty: as it was when it was given.
  virtual std::string path() const { return {}; }
  virtual uint32_t discard_granularity() const = 0;  // bytes; 0: it cannot punch
  virtual bool rotational() const { return false; }

  // Direct I/O: the smallest unit, and whether the file can. Needs the caller only the first time.
  virtual uint32_t direct_unit() const = 0;
  virtual bool prepare_direct(const Caller& caller) = 0;
  virtual void use_direct(bool) {}
  virtual bool opened_direct() const { return false; }

  // If it is another device of this instance.
  virtual std::optional<NodeId> node() const { return std::nullopt; }

  // The partition table in a part of the file, empty if there is none.
  virtual Result<std::map<uint32_t, instance::Partition>> scan(uint64_t offset, uint64_t size,
                                                               uint32_t block_size);
};

// A file taken from a caller. Errors: EINVAL unless it is a regular file or a block device.
class FileBacking final : public Backing {
 public:
  static Result<std::shared_ptr<FileBacking>> create(Fd file, const Caller& caller);

  Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) override;
  Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync(bool data_only) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero(uint64_t offset, uint64_t length) override;
  Result<uint64_t> size() override;
  bool writable() const override { return writable_; }
  Identity identity() const override { return identity_; }
  Base base() override;
  std::string path() const override;
  uint32_t discard_granularity() const override { return discard_granularity_; }
  bool rotational() const override { return rotational_; }
  uint32_t direct_unit() const override { return direct_unit_; }
  bool prepare_direct(const Caller& caller) override;
  void use_direct(bool use) override { use_direct_ = use && direct_fd_ >= 0; }
  bool opened_direct() const override { return opened_direct_; }
  Result<std::map<uint32_t, instance::Partition>> scan(uint64_t offset, uint64_t size,
                                                       uint32_t block_size) override;

  ~FileBacking() override;

 private:
  FileBacking() = default;
  void inspect();
  int io_fd() const { return own_.valid() ? own_.get() : given_.get(); }
  bool direct_fits(uint64_t offset, size_t size) const;
  bool memory_fits(const void* bytes) const {
    return reinterpret_cast<uintptr_t>(bytes) % direct_memory_ == 0;
  }
  Result<size_t> direct_read(uint64_t offset, std::span<std::byte> bytes);
  Result<size_t> direct_write(uint64_t offset, std::span<const std::byte> bytes);
  Result<void> allocate(int mode, uint64_t offset, uint64_t length);

  // The caller's open file description, kept as the kernel keeps it (locks, leases). I/O goes through one
  // of our own where it can be had: nobody else can then set O_APPEND or O_DIRECT on it or move its offset.
  Fd given_, own_;
  std::atomic<int> direct_fd_ = -1;  // set once
  std::atomic<bool> use_direct_ = false;
  std::mutex direct_mutex_;  // of the preparation
  std::mutex offset_mutex_;  // of the descriptor's offset, which libblkid and lseek(2) move
  Identity identity_;
  bool writable_ = false, block_device_ = false, rotational_ = false, opened_direct_ = false;
  uint32_t discard_granularity_ = 0, direct_unit_ = instance::kSectorSize, direct_memory_ = 4096;
};

// The errno of failed I/O as the block layer passes it on (errno_to_blk_status and back).
int io_error(int code);

}  // namespace loopfs::engine
