#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "engine/backing.h"
#include "engine/partition_scan.h"
#include "sys/procfs.h"
#include "sys/uapi.h"

namespace loopfs::engine {
namespace {

constexpr size_t kBounce = 1 << 20;  // bytes copied at a time for direct I/O

// Memory that any file system takes for direct I/O. One for each thread: requests are not nested.
std::byte* bounce_buffer() {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<std::byte, Free> buffer(
      static_cast<std::byte*>(std::aligned_alloc(4096, kBounce)));
  return buffer.get();  // NOLINT(clang-analyzer-unix.Malloc): thread_local, it is freed later
}

// queue/NAME of a block device, which for a partition is in its disk's directory.
std::optional<uint32_t> queue_attribute(dev_t device, const char* name) {
  if (major(device) == 0) return std::nullopt;
  for (const char* way : {"", "../"}) {
    std::ifstream file(
        fmt::format("/sys/dev/block/{}:{}/{}queue/{}", major(device), minor(device), way, name));
    uint32_t value;
    if (file >> value) return value;
  }
  return std::nullopt;
}

// Puts a descriptor's offset back where it was: it may be the caller's own open file description.
class KeptOffset {
 public:
  explicit KeptOffset(int fd) : fd_(fd), offset_(::lseek(fd, 0, SEEK_CUR)) {}
  ~KeptOffset() {
    if (offset_ >= 0) ::lseek(fd_, offset_, SEEK_SET);
  }
  KeptOffset(const KeptOffset&) = delete;
  KeptOffset& operator=(const KeptOffset&) = delete;

 private:
  int fd_;
  off_t offset_;
};

ssize_t write_at(int fd, bool shared, const std::byte* bytes, size_t size, uint64_t offset) {
  if (shared) {
    // The caller may have set O_APPEND, which pwrite(2) obeys.
    const iovec vector{const_cast<std::byte*>(bytes), size};
    const ssize_t written = ::pwritev2(fd, &vector, 1, static_cast<off_t>(offset), RWF_NOAPPEND);
    if (written >= 0 || errno != EOPNOTSUPP) return written;
  }
  return ::pwrite(fd, bytes, size, static_cast<off_t>(offset));
}

Result<size_t> read_fully(int fd, uint64_t offset, std::span<std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if (done > 0) break;
      return fail(io_error(errno), "read the backing file at {}", offset);
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Result<size_t> write_fully(int fd, bool shared, uint64_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = write_at(fd, shared, bytes.data() + done, bytes.size() - done, offset + done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      if (done > 0) break;
      return fail(put < 0 ? io_error(errno) : EIO, "write the backing file at {}", offset);
    }
    done += static_cast<size_t>(put);
  }
  return done;
}

}  // namespace

int io_error(int code) {
  switch (code) {
    case ENOSPC:
    case ENOMEM:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case ENODATA:
    case EILSEQ:
      return code;
    default:
      return EIO;
  }
}

Result<std::map<uint32_t, instance::Partition>> Backing::scan(uint64_t offset, uint64_t size,
                                                              uint32_t block_size) {
  const Base whole = base();
  if (whole.fd < 0) return fail(EIO, "the device below is gone");
  return scan_partitions(whole.fd, whole.offset + offset, size, block_size);
}

Result<std::shared_ptr<FileBacking>> FileBacking::create(Fd file, const Caller& caller) {
  const auto status = caller.stat_of_fd(file.get());
  if (!status) return propagate(status, "stat the backing file");
  if (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode))
    return fail(EINVAL, "not a file or block device");
  const int flags = ::fcntl(file.get(), F_GETFL);
  if (flags < 0) return errno_fail("flags of the backing file");
  std::shared_ptr<FileBacking> backing(new FileBacking);
  backing->given_ = std::move(file);
  backing->writable_ = (flags & O_ACCMODE) != O_RDONLY;
  backing->opened_direct_ = flags & O_DIRECT;
  backing->block_device_ = S_ISBLK(status->st_mode);
  backing->identity_ = {status->st_dev, status->st_ino, S_ISBLK(status->st_mode) ? status->st_rdev : 0};
  // The kernel reads through a write-only descriptor, too.
  const int mode = backing->writable_ ? O_RDWR : O_RDONLY;
  if (auto own = caller.reopen(backing->given_.get(), mode)) backing->own_ = std::move(*own);
  backing->inspect();
  return backing;
}

FileBacking::~FileBacking() {
  Fd(direct_fd_.load()).reset();
}

void FileBacking::inspect() {
  const dev_t disk = block_device_ ? identity_.raw_device : identity_.device;
  rotational_ = queue_attribute(disk, "rotational").value_or(0) != 0;
  struct statx status;
  if (::statx(io_fd(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
      (status.stx_mask & STATX_DIOALIGN)) {
    direct_unit_ = status.stx_dio_offset_align;
    if (status.stx_dio_mem_align != 0) direct_memory_ = status.stx_dio_mem_align;
  } else {
    direct_unit_ = queue_attribute(disk, "logical_block_size").value_or(instance::kSectorSize);
  }
  if (direct_unit_ != 0 && !std::has_single_bit(direct_unit_)) direct_unit_ = 4096;

  struct statfs system;
  if (::fstatfs(io_fd(), &system) != 0) return;
  // Past the end there is nothing to punch: the answer alone counts. A file that is read-only cannot be
  // asked; nor can its device be made to discard.
  constexpr off_t kFarAway = off_t{1} << 40;
  const auto end = size();
  const off_t past =
      end ? std::min<off_t>(static_cast<off_t>(*end + kFarAway), LLONG_MAX - 65536) & ~off_t{65535} : 0;
  if (!block_device_ && writable_ &&
      ::fallocate(io_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, past, 4096) != 0 &&
      (errno == EOPNOTSUPP || errno == ENOSYS)) {
    return;
  }
  discard_granularity_ = block_device_
                             ? queue_attribute(disk, "discard_granularity").value_or(0)
                             : static_cast<uint32_t>(std::clamp<int64_t>(system.f_bsize, 512, 1 << 30));
}

Result<uint64_t> FileBacking::size() {
  if (block_device_) {
    uint64_t bytes = 0;
    if (::ioctl(io_fd(), BLKGETSIZE64, &bytes) != 0) return errno_fail("BLKGETSIZE64 of the backing device");
    return bytes;
  }
  struct stat status;
  if (::fstat(io_fd(), &status) == 0) return static_cast<uint64_t>(status.st_size);
  if (errno != EACCES) return errno_fail("stat the backing file");
  // A FUSE mount of the sandbox's own tells us nothing but where the file ends.
  const std::lock_guard lock(offset_mutex_);
  const KeptOffset kept(io_fd());
  const off_t end = ::lseek(io_fd(), 0, SEEK_END);
  if (end < 0) return errno_fail("find the end of the backing file");
  return static_cast<uint64_t>(end);
}

// From the name cache: no file system is asked.
std::string FileBacking::path() const {
  return sys::path_of_own_fd(given_.get()).value_or(std::string());
}

Backing::Base FileBacking::base() {
  return {io_fd(), 0, size().value_or(0)};
}

bool FileBacking::prepare_direct(const Caller& caller) {
  if (direct_unit_ == 0) return false;  // statx says that the file cannot
  const std::lock_guard lock(direct_mutex_);
  if (direct_fd_ >= 0) return true;
  auto direct = caller.reopen(given_.get(), (writable_ ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (!direct) return false;
  direct_fd_ = direct->release();
  return true;
}

bool FileBacking::direct_fits(uint64_t offset, size_t size) const {
  return use_direct_ && size > 0 && ((offset | size) & (direct_unit_ - 1)) == 0;
}

Result<size_t> FileBacking::direct_read(uint64_t offset, std::span<std::byte> bytes) {
  if (memory_fits(bytes.data())) return read_fully(direct_fd_, offset, bytes);
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t part = std::min(kBounce, bytes.size() - done);
    auto got = read_fully(direct_fd_, offset + done, {bounce_buffer(), part});
    if (!got) return done > 0 ? Result<size_t>(done) : got;
    std::memcpy(bytes.data() + done, bounce_buffer(), *got);
    done += *got;
    if (*got < part) break;
  }
  return done;
}

Result<size_t> FileBacking::direct_write(uint64_t offset, std::span<const std::byte> bytes) {
  if (memory_fits(bytes.data())) return write_fully(direct_fd_, false, offset, bytes);
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t part = std::min(kBounce, bytes.size() - done);
    std::memcpy(bounce_buffer(), bytes.data() + done, part);
    auto put = write_fully(direct_fd_, false, offset + done, {bounce_buffer(), part});
    if (!put) return done > 0 ? Result<size_t>(done) : put;
    done += *put;
    if (*put < part) break;
  }
  return done;
}

// What is not aligned for direct I/O goes through the page cache; the file system keeps both coherent.
Result<size_t> FileBacking::read(uint64_t offset, std::span<std::byte> bytes) {
  if (direct_fits(offset, bytes.size())) return direct_read(offset, bytes);
  return read_fully(io_fd(), offset, bytes);
}

Result<size_t> FileBacking::write(uint64_t offset, std::span<const std::byte> bytes) {
  if (direct_fits(offset, bytes.size())) return direct_write(offset, bytes);
  return write_fully(io_fd(), !own_.valid(), offset, bytes);
}

Result<void> FileBacking::sync(bool data_only) {
  const int status = data_only ? ::fdatasync(io_fd()) : ::fsync(io_fd());
  if (status != 0 && errno != EINVAL) return fail(EIO, "sync the backing file");
  return {};
}

Result<void> FileBacking::allocate(int mode, uint64_t offset, uint64_t length) {
  int status;
  do {
    status = ::fallocate(io_fd(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                         static_cast<off_t>(length));
  } while (status != 0 && errno == EINTR);
  if (status == 0) return {};
  const int code = errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS ? EOPNOTSUPP : EIO;
  return fail(code, "fallocate the backing file");
}

Result<void> FileBacking::punch(uint64_t offset, uint64_t length) {
  return allocate(FALLOC_FL_PUNCH_HOLE, offset, length);
}

Result<void> FileBacking::zero(uint64_t offset, uint64_t length) {
  return allocate(FALLOC_FL_ZERO_RANGE, offset, length);
}

Result<std::map<uint32_t, instance::Partition>> FileBacking::scan(uint64_t offset, uint64_t size,
                                                                  uint32_t block_size) {
  const std::lock_guard lock(offset_mutex_);
  const KeptOffset kept(io_fd());
  return scan_partitions(io_fd(), offset, size, block_size);
}

}  // namespace loopfs::engine
