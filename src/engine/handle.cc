#include "engine/handle.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/loop.h>

#include <algorithm>

#include "engine/block_ioctl.h"
#include "engine/ioctl_rules.h"
#include "engine/loop_ioctl.h"

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80  // linux/falloc.h, 6.17
#endif

namespace loopfs::engine {
namespace {

constexpr size_t kZeroes = 1 << 20;

Result<void> write_zeroes(Backing& backing, uint64_t offset, uint64_t length) {
  static const std::vector<std::byte> zeroes(kZeroes);
  while (length > 0) {
    const size_t part = static_cast<size_t>(std::min<uint64_t>(length, kZeroes));
    auto written = backing.write(offset, {zeroes.data(), part});
    if (!written) return propagate(written);
    if (*written == 0) return fail(EIO, "write zeroes");
    offset += *written;
    length -= *written;
  }
  return {};
}

// One request, of a device and, if it is through one, of a partition.
class Counted {
 public:
  explicit Counted(const DeviceHandle& handle) : device_(*handle.slot()->counters) {
    if (handle.partition_counters() != nullptr) partition_.emplace(*handle.partition_counters());
  }
  void done(IoCounters::Kind kind, uint64_t bytes) {
    device_.done(kind, bytes);
    if (partition_) partition_->done(kind, bytes);
  }

 private:
  IoCounters::Request device_;
  std::optional<IoCounters::Request> partition_;
};

bool unsupported(const Result<void>& result) {
  return !result && result.error().code == EOPNOTSUPP;
}

}  // namespace

DeviceHandle::~DeviceHandle() {
  if (!counted_) return;
  bool rescan = false;
  {
    Transaction change(*core_);
    if (device().close(partition_, options_.exclusive)) {
      change.unbind(*slot_);
    } else {
      rescan = options_.write && partition_ == 0 && slot_->written && device().bound() &&
               device().partscan() && !device().partition_open() && device().may_claim(0).has_value();
    }
  }
  // A kernel's udev does this: it re-reads the table when a device that was written to is closed.
  if (rescan) (void)core_->rescan(slot_);
  const std::lock_guard lock(core_->mutex());
  core_->closed(*slot_, this);
}

void DeviceHandle::descriptor_closing() {
  const std::lock_guard lock(core_->mutex());
  core_->closing(*slot_, this);
}

IoView DeviceHandle::view() const {
  const std::lock_guard lock(core_->mutex());
  const instance::Device& device = *slot_->device;
  return {.backing = device.bound() ? slot_->backing : nullptr,
          .start = device.settings().offset + device.start(partition_),
          .size = device.size(partition_),
          .block_size = device.block_size(),
          .read_only = device.read_only(partition_)};
}

Result<size_t> DeviceHandle::read(uint64_t offset, std::span<std::byte> bytes) {
  if (!options_.read) return fail(EBADF, "read {}", id().name());
  const IoView io = view();
  if (offset >= io.size || bytes.empty()) return 0;
  bytes = bytes.first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), io.size - offset)));
  if (options_.direct && ((offset | bytes.size()) & (io.block_size - 1)))
    return fail(EINVAL, "unaligned read");
  if (!io.backing) return fail(EIO, "read {}", id().name());
  Counted request(*this);
  auto got = io.backing->read(io.start + offset, bytes);
  if (!got) return got;
  request.done(IoCounters::Kind::kRead, *got);
  // The file has become shorter than the device.
  if (*got < bytes.size()) return fail(EIO, "read {} past the end of its file", id().name());
  return got;
}

Result<size_t> DeviceHandle::write(uint64_t offset, std::span<const std::byte> bytes) {
  if (!options_.write) return fail(EBADF, "write {}", id().name());
  const IoView io = view();
  if (io.read_only) return fail(EPERM, "write {}", id().name());
  if (bytes.empty()) return 0;
  if (offset >= io.size) return fail(ENOSPC, "write {} past its end", id().name());
  bytes = bytes.first(static_cast<size_t>(std::min<uint64_t>(bytes.size(), io.size - offset)));
  if (options_.direct && ((offset | bytes.size()) & (io.block_size - 1)))
    return fail(EINVAL, "unaligned write");
  if (!io.backing) return fail(EIO, "write {}", id().name());
  Counted request(*this);
  auto put = io.backing->write(io.start + offset, bytes);
  if (put) request.done(IoCounters::Kind::kWrite, *put);
  if (put && partition_ == 0) slot_->written = true;
  return put;
}

Result<void> DeviceHandle::sync(bool data_only) {
  const IoView io = view();
  if (!io.backing) return {};
  Counted request(*this);
  auto done = io.backing->sync(data_only);
  if (done) request.done(IoCounters::Kind::kFlush, 0);
  return done;
}

Result<void> DeviceHandle::punch(const IoView& io, uint64_t offset, uint64_t length) {
  Counted request(*this);
  auto done = io.backing->punch(io.start + offset, length);
  if (done) request.done(IoCounters::Kind::kDiscard, length);
  return done;
}

Result<void> DeviceHandle::zero(const IoView& io, uint64_t offset, uint64_t length, bool keep_space) {
  Counted request(*this);
  Result<void> done = fail(EOPNOTSUPP, "punch");
  if (!keep_space) done = io.backing->punch(io.start + offset, length);
  if (unsupported(done)) done = io.backing->zero(io.start + offset, length);
  if (unsupported(done)) done = write_zeroes(*io.backing, io.start + offset, length);
  if (done) request.done(IoCounters::Kind::kWrite, length);
  return done;
}

Result<void> DeviceHandle::allocate(int mode, uint64_t offset, uint64_t length) {
  constexpr int kKnown =
      FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_WRITE_ZEROES;
  const bool half = (mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE);
  if ((mode & ~kKnown) || half) return fail(EOPNOTSUPP, "fallocate mode {:#x}", mode);
  if (!options_.write) return fail(EBADF, "fallocate {}", id().name());
  const IoView io = view();
  if (offset >= io.size) return fail(EINVAL, "fallocate past the end");
  if (length > io.size - offset) {
    if (!(mode & FALLOC_FL_KEEP_SIZE)) return fail(EINVAL, "fallocate past the end");
    length = io.size - offset;
  }
  if ((offset | length) & (io.block_size - 1)) return fail(EINVAL, "unaligned fallocate");
  const bool zero_range = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
  if (!zero_range && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
    return fail(EOPNOTSUPP, "fallocate mode {:#x}", mode);
  }
  if (io.read_only) return fail(EPERM, "fallocate {}", id().name());
  if (!io.backing) return fail(EIO, "fallocate {}", id().name());
  if (zero_range) return zero(io, offset, length, true);
  return punch(io, offset, length);
}

Result<int> DeviceHandle::ioctl(IoctlRequest& request, const Caller& caller) {
  if (const IoctlRule* rule = find_ioctl(request.command)) {
    const auto may = may_call(*rule, options_.write, [&] { return caller.has_sys_admin(); });
    if (!may) return propagate(may);
  }
  if (auto answer = block_ioctl(*this, request, caller)) return *answer;
  return loop_ioctl(*this, request, caller);
}

Result<void> remove_device(Core& core, int64_t number) {
  Transaction change(core);
  auto removed = core.table().remove(number);
  if (!removed && removed.error().code == EBUSY) {
    const auto slot = core.find(static_cast<uint32_t>(number));
    core.settle(change.lock(), *slot);
    // Meanwhile it may have been removed by another.
    if (core.find(static_cast<uint32_t>(number)) != slot) return fail(ENODEV, "loop{}", number);
    removed = core.table().remove(number);
  }
  if (!removed) return removed;
  change.removed(static_cast<uint32_t>(number));
  return {};
}

Result<int> ControlHandle::ioctl(IoctlRequest& request, const Caller&) {
  const int64_t number = static_cast<int>(request.argument);  // the kernel's loop_add(int)
  switch (request.command) {
    case LOOP_CTL_ADD: {
      Transaction change(*core_);
      auto added = core_->table().add(number);
      if (!added) return propagate(added);
      change.added(*added);
      return static_cast<int>(*added);
    }
    case LOOP_CTL_REMOVE: {
      auto removed = remove_device(*core_, number);
      if (!removed) return propagate(removed);
      return 0;
    }
    case LOOP_CTL_GET_FREE: {
      Transaction change(*core_);
      core_->settle_all(change.lock());
      auto free = core_->table().get_free();
      if (!free) return propagate(free);
      if (!core_->find(*free)) change.added(*free);
      return static_cast<int>(*free);
    }
    default:
      return fail(ENOSYS, "ioctl {:#x}", request.command);
  }
}

}  // namespace loopfs::engine
