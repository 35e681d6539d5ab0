#include "engine/block_ioctl.h"

#include <linux/blkpg.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <linux/hdreg.h>

#include <algorithm>
#include <array>

#include "engine/geometry.h"
#include "engine/ioctl_rules.h"
#include "engine/user_memory.h"
#include "sys/uapi.h"

namespace loopfs::engine {
namespace {

constexpr uint64_t kPageSectors = 8;

struct Call {
  DeviceHandle& handle;
  IoctlRequest& request;
  const Caller& caller;

  template <typename T>
  Result<int> put(const T& value) const {
    return put_argument(request, caller, value);
  }
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(handle.core().mutex()); }
  const instance::Device& device() const { return handle.device(); }
};

Result<int> done(const Result<void>& result) {
  if (!result) return propagate(result);
  return 0;
}

// --- what the device is ---

uint64_t size_of(const Call& call) {
  const auto lock = call.lock();
  return call.device().size(call.handle.partition());
}

uint32_t block_size_of(const Call& call) {
  const auto lock = call.lock();
  return call.device().block_size();
}

Result<int> get_size(const Call& call) {
  return put_long(call.request, call.caller, size_of(call) / 512);
}
Result<int> get_size64(const Call& call) {
  return call.put(size_of(call));
}
Result<int> get_block_size(const Call& call) {
  return call.put(block_size_of(call));
}
Result<int> get_zero(const Call& call) {
  return call.put(uint32_t{0});
}
Result<int> get_max_sectors(const Call& call) {
  return call.put(static_cast<uint16_t>(kMaxSectors));
}

Result<int> get_soft_block_size(const Call& call) {
  uint32_t size;
  {
    const auto lock = call.lock();
    size = call.device().node(call.handle.partition()).soft_block_size;
  }
  return call.put(size);
}

Result<int> set_soft_block_size(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  const auto size = get_argument<int>(call.request, call.caller);
  if (!size) return propagate(size);
  auto lock = call.lock();
  const auto set = [&] {
    return call.handle.device().set_soft_block_size(call.handle.partition(), call.handle.options().exclusive,
                                                    *size);
  };
  auto result = set();
  if (!result && result.error().code == EBUSY) {
    call.handle.core().settle(lock, *call.handle.slot());
    result = set();
  }
  return done(result);
}

Result<int> get_read_only(const Call& call) {
  bool read_only;
  {
    const auto lock = call.lock();
    read_only = call.device().read_only(call.handle.partition());
  }
  return call.put(int{read_only});
}

Result<int> set_read_only(const Call& call) {
  const auto value = get_argument<int>(call.request, call.caller);
  if (!value) return propagate(value);
  const auto lock = call.lock();
  call.handle.device().set_read_only(call.handle.partition(), *value != 0);
  return 0;
}

Result<int> get_read_ahead(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  uint64_t sectors;
  {
    const auto lock = call.lock();
    sectors = call.handle.slot()->read_ahead;
  }
  return put_long(call.request, call.caller, sectors);
}

Result<int> set_read_ahead(const Call& call) {
  const auto lock = call.lock();
  call.handle.slot()->read_ahead = call.request.argument / kPageSectors * kPageSectors;  // whole pages
  return 0;
}

Result<int> get_rotational(const Call& call) {
  bool rotational;
  {
    const auto lock = call.lock();
    rotational = call.handle.slot()->rotational;
  }
  return call.put(static_cast<uint16_t>(rotational));
}

Result<int> get_sequence(const Call& call) {
  uint64_t sequence;
  {
    const auto lock = call.lock();
    sequence = call.device().sequence();
  }
  return call.put(sequence);
}

// struct hd_geometry of a 32-bit program.
struct CompatGeometry {
  unsigned char heads, sectors;
  uint16_t cylinders;
  uint32_t start;
};

Result<int> get_geometry(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "HDIO_GETGEO");
  const uint32_t partition = call.handle.partition();
  if (partition == 0) return fail(ENOTTY, "HDIO_GETGEO");
  uint64_t start;
  {
    const auto lock = call.lock();
    start = call.device().start(partition);
  }
  const hd_geometry geometry = geometry_of(start);
  if (!call.request.compat) return call.put(geometry);
  return call.put(CompatGeometry{geometry.heads, geometry.sectors, geometry.cylinders,
                                 static_cast<uint32_t>(geometry.start)});
}

Result<int> no_zones(const Call&) {
  return fail(ENOTTY, "not zoned");
}

// --- what is done to its contents ---

Result<int> flush_buffers(const Call& call) {
  Transaction change(call.handle.core());
  change.contents_changed(*call.handle.slot());
  return 0;
}

struct Range {
  uint64_t start = 0, length = 0;
};

Result<Range> get_range(const Call& call) {
  const auto range = read_user<std::array<uint64_t, 2>>(call.caller, call.request.argument);
  if (!range) return propagate(range);
  return Range{(*range)[0], (*range)[1]};
}

Result<void> check_range(const Range& range, const IoView& io, uint32_t unit) {
  if (((range.start | range.length) & (unit - 1)) || range.length == 0 || range.start > io.size ||
      range.length > io.size - range.start) {
    return fail(EINVAL, "range {}+{}", range.start, range.length);
  }
  return {};
}

// Tells caches that a range was changed behind their back.
void contents_changed(const Call& call) {
  Transaction change(call.handle.core());
  if (call.handle.partition() == 0) call.handle.slot()->written = true;
  change.contents_changed(*call.handle.slot());
}

Result<int> discard(const Call& call) {
  const auto range = get_range(call);
  if (!range) return propagate(range);
  const IoView io = call.handle.view();
  {
    const auto lock = call.lock();
    if (call.handle.slot()->discard_granularity == 0) return fail(EOPNOTSUPP, "discard");
  }
  if (!call.handle.options().write) return fail(EBADF, "discard");
  if (io.read_only) return fail(EPERM, "discard");
  if (auto valid = check_range(*range, io, io.block_size); !valid) return propagate(valid);
  if (!io.backing) return fail(EIO, "discard");
  auto punched = call.handle.punch(io, range->start, range->length);
  if (!punched && punched.error().code != EOPNOTSUPP) return propagate(punched);  // advice: may be ignored
  contents_changed(call);
  return 0;
}

Result<int> secure_discard(const Call& call) {
  if (!call.handle.options().write) return fail(EBADF, "secure discard");
  return fail(EOPNOTSUPP, "secure discard");
}

// Unlike the kernel, which keeps the space allocated, this punches: images are to stay sparse.
Result<int> zero_out(const Call& call) {
  if (!call.handle.options().write) return fail(EBADF, "zero-out");
  const auto range = get_range(call);
  if (!range) return propagate(range);
  const IoView io = call.handle.view();
  if (auto valid = check_range(*range, io, io.block_size); !valid) return propagate(valid);
  if (io.read_only) return fail(EPERM, "zero-out");
  if (!io.backing) return fail(EIO, "zero-out");
  auto zeroed = call.handle.zero(io, range->start, range->length, false);
  if (!zeroed) return propagate(zeroed);
  contents_changed(call);
  return 0;
}

// --- partitions ---

Result<int> reread_partitions(const Call& call) {
  if (call.handle.partition() != 0) return fail(EINVAL, "{} is a partition", call.handle.id().name());
  {
    auto lock = call.lock();
    auto may = call.device().may_rescan(call.handle.options().exclusive);
    if (!may && may.error().code == EBUSY) {
      call.handle.core().settle(lock, *call.handle.slot());
      may = call.device().may_rescan(call.handle.options().exclusive);
    }
    if (!may) return propagate(may);
  }
  return done(call.handle.core().rescan(call.handle.slot()));
}

struct CompatBlkpg {
  int32_t op, flags, datalen;
  uint32_t data;
};

Result<int> edit_partitions(const Call& call) {
  int op;
  uint64_t data;
  if (call.request.compat) {
    const auto argument = read_user<CompatBlkpg>(call.caller, call.request.argument);
    if (!argument) return propagate(argument);
    op = argument->op;
    data = argument->data;
  } else {
    const auto argument = read_user<blkpg_ioctl_arg>(call.caller, call.request.argument);
    if (!argument) return propagate(argument);
    op = argument->op;
    data = reinterpret_cast<uint64_t>(argument->data);
  }
  const auto wanted = read_user<blkpg_partition>(call.caller, data);
  if (!wanted) return propagate(wanted);
  if (call.handle.partition() != 0) return fail(EINVAL, "{} is a partition", call.handle.id().name());

  Transaction change(call.handle.core());
  instance::Device& device = call.handle.device();
  const auto edit = [&]() -> Result<void> {
    switch (op) {
      case BLKPG_ADD_PARTITION:
        return device.add_partition(wanted->pno, wanted->start, wanted->length);
      case BLKPG_DEL_PARTITION:
        return device.delete_partition(wanted->pno);
      case BLKPG_RESIZE_PARTITION:
        return device.resize_partition(wanted->pno, wanted->start, wanted->length);
      default:
        return fail(EINVAL, "BLKPG operation {}", op);
    }
  };
  auto edited = change.change_partitions(*call.handle.slot(), edit);
  if (!edited && edited.error().code == EBUSY && op == BLKPG_DEL_PARTITION) {
    call.handle.core().settle(change.lock(), *call.handle.slot());
    edited = change.change_partitions(*call.handle.slot(), edit);
  }
  return done(edited);
}

struct Entry {
  unsigned command;
  Result<int> (*function)(const Call&);
};

constexpr Entry kEntries[] = {
    {BLKGETSIZE, get_size},
    {BLKGETSIZE64, get_size64},
    {BLKSSZGET, get_block_size},
    {BLKPBSZGET, get_block_size},
    {BLKIOMIN, get_block_size},
    {BLKIOOPT, get_zero},
    {BLKALIGNOFF, get_zero},
    {BLKDISCARDZEROES, get_zero},
    {BLKSECTGET, get_max_sectors},
    {BLKBSZGET, get_soft_block_size},
    {BLKBSZSET, set_soft_block_size},
    {compat_number(BLKGETSIZE64), get_size64},
    {compat_number(BLKBSZGET), get_soft_block_size},
    {compat_number(BLKBSZSET), set_soft_block_size},
    {BLKROGET, get_read_only},
    {BLKROSET, set_read_only},
    {BLKRAGET, get_read_ahead},
    {BLKFRAGET, get_read_ahead},
    {BLKRASET, set_read_ahead},
    {BLKFRASET, set_read_ahead},
    {BLKROTATIONAL, get_rotational},
    {BLKGETDISKSEQ, get_sequence},
    {HDIO_GETGEO, get_geometry},
    {BLKGETZONESZ, get_zero},
    {BLKGETNRZONES, get_zero},
    {BLKREPORTZONE, no_zones},
    {BLKRESETZONE, no_zones},
    {BLKOPENZONE, no_zones},
    {BLKCLOSEZONE, no_zones},
    {BLKFINISHZONE, no_zones},
    {BLKFLSBUF, flush_buffers},
    {BLKDISCARD, discard},
    {BLKSECDISCARD, secure_discard},
    {BLKZEROOUT, zero_out},
    {BLKRRPART, reread_partitions},
    {BLKPG, edit_partitions},
};

}  // namespace

std::optional<Result<int>> block_ioctl(DeviceHandle& handle, IoctlRequest& request, const Caller& caller) {
  const auto* entry = std::ranges::find(kEntries, request.command, &Entry::command);
  if (entry == std::end(kEntries)) return std::nullopt;
  return entry->function({handle, request, caller});
}

}  // namespace loopfs::engine
