#include "kernel/native_ioctl.h"

#include <linux/blkpg.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>

#include "engine/ioctl_rules.h"
#include "engine/user_memory.h"
#include "instance/settings.h"
#include "sys/uapi.h"

namespace loopfs::kernel {
namespace {

struct Call {
  NodeHandle& handle;
  int device;  // the kernel device; -1: the node is free
  engine::IoctlRequest& request;
  const engine::Caller& caller;
};

using Range = std::array<uint64_t, 2>;

Result<int> answered(int result, unsigned command) {
  if (result < 0) return errno_fail("ioctl {:#x}", command);
  return result;
}

Result<int> by_value(const Call& call) {
  return answered(::ioctl(call.device, call.request.command, call.request.argument), call.request.command);
}

Result<int> not_bound(const Call& call) {
  return fail(ENXIO, "ioctl {:#x}: not bound", call.request.command);
}

// What the kernel says of a device that is free.
template <typename T>
T while_free(unsigned command) {
  switch (command) {
    case BLKSSZGET:
    case BLKPBSZGET:
    case BLKIOMIN:
      return 512;
    case BLKBSZGET:
      return 4096;
    case BLKSECTGET:
      return 2560;
    case BLKRAGET:
    case BLKFRAGET:
      return 256;
    default:
      return 0;
  }
}

template <typename T>
Result<int> fetch(const Call& call) {
  T value = while_free<T>(call.request.command);
  if (call.device >= 0) {
    const int result = ::ioctl(call.device, call.request.command, &value);
    if (result < 0) return answered(result, call.request.command);
  }
  if constexpr (sizeof(T) == sizeof(long)) {
    if (_IOC_SIZE(call.request.command) == 0) return engine::put_long(call.request, call.caller, value);
  }
  return engine::put_argument(call.request, call.caller, value);
}

template <typename T>
Result<int> pass(const Call& call) {
  auto value = engine::get_argument<T>(call.request, call.caller);
  if (!value) return propagate(value);
  return answered(::ioctl(call.device, call.request.command, &*value), call.request.command);
}

// The caller's number for the device, not the kernel's.
template <typename Info>
Result<int> get_status(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  if (call.device < 0) return not_bound(call);
  Info info{};
  const int result = ::ioctl(call.device, call.request.command, &info);
  if (result < 0) return answered(result, call.request.command);
  info.lo_number = static_cast<decltype(info.lo_number)>(call.handle.number());
  if (auto put = engine::write_user(call.caller, call.request.argument, info); !put) return propagate(put);
  return 0;
}

Result<int> set_status(const Call& call) {
  auto info = engine::read_user<loop_info64>(call.caller, call.request.argument);
  if (!info) return propagate(info);
  if (call.device < 0) return not_bound(call);
  return answered(::ioctl(call.device, LOOP_SET_STATUS64, &*info), LOOP_SET_STATUS64);
}

Result<int> set_old_status(const Call& call) {
  auto info = engine::read_user<loop_info>(call.caller, call.request.argument);
  if (!info) return propagate(info);
  if (call.device < 0) return not_bound(call);
  return answered(::ioctl(call.device, LOOP_SET_STATUS, &*info), LOOP_SET_STATUS);
}

Result<int> change_fd(const Call& call) {
  auto file = porter::ForeignFile::take(call.handle.engine().options().strangers, call.caller.thread(),
                                        static_cast<int>(call.request.argument));
  if (!file) return propagate(file);
  if (call.device < 0) return not_bound(call);
  if (auto changed = file->change_to(call.device); !changed) return propagate(changed);
  return 0;
}

Result<int> get_sequence(const Call& call) {
  if (call.device >= 0) return fetch<uint64_t>(call);
  const auto sequence = call.handle.engine().sequence_while_free(call.handle.number());
  if (!sequence) return propagate(sequence);
  return engine::put_argument(call.request, call.caller, *sequence);
}

// On a device that is free it lasts no longer than until that is bound.
Result<int> set_soft_block_size(const Call& call) {
  if (call.device >= 0) return pass<int>(call);
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  const auto size = engine::get_argument<int>(call.request, call.caller);
  if (!size) return propagate(size);
  if (!call.handle.options().exclusive && call.handle.engine().claimed(call.handle.number()))
    return fail(EBUSY, "in use");
  if (auto valid = instance::check_block_size(static_cast<uint64_t>(*size)); !valid) return propagate(valid);
  return 0;
}

Result<int> no_zones(const Call&) {
  return fail(ENOTTY, "not zoned");
}

Result<int> no_geometry(const Call& call) {
  return fail(call.request.argument == 0 ? EINVAL : ENOTTY, "HDIO_GETGEO");
}

// There is nothing to discard on a device that is free, and nothing to write to.
Result<int> discard(const Call& call) {
  if (call.device >= 0) return pass<Range>(call);
  return fail(call.handle.options().write ? EOPNOTSUPP : EBADF, "discard");
}

Result<int> secure_discard(const Call& call) {
  return fail(call.handle.options().write ? EOPNOTSUPP : EBADF, "secure discard");
}

Result<int> zero_out(const Call& call) {
  if (call.device >= 0) return pass<Range>(call);
  return fail(call.handle.options().write ? EINVAL : EBADF, "zero-out");
}

Result<int> reread_partitions(const Call& call) {
  if (call.device < 0) return fail(EINVAL, "no partition scan");
  auto read = call.handle.engine().reread_partitions(call.handle.number(), call.device);
  if (!read) return propagate(read);
  return 0;
}

Result<int> edit_partitions(const Call& call) {
  auto argument = engine::read_user<blkpg_ioctl_arg>(call.caller, call.request.argument);
  if (!argument) return propagate(argument);
  auto partition =
      engine::read_user<blkpg_partition>(call.caller, reinterpret_cast<uint64_t>(argument->data));
  if (!partition) return propagate(partition);
  if (call.device < 0) return fail(argument->op == BLKPG_DEL_PARTITION ? ENXIO : EINVAL, "not bound");
  argument->data = &*partition;
  argument->datalen = sizeof *partition;
  return answered(::ioctl(call.device, BLKPG, &*argument), BLKPG);
}

struct Entry {
  unsigned command;
  Result<int> (*function)(const Call&);
};

constexpr Entry kEntries[] = {
    {LOOP_CLR_FD, by_value},
    {LOOP_SET_STATUS, set_old_status},
    {LOOP_GET_STATUS, get_status<loop_info>},
    {LOOP_SET_STATUS64, set_status},
    {LOOP_GET_STATUS64, get_status<loop_info64>},
    {LOOP_CHANGE_FD, change_fd},
    {LOOP_SET_CAPACITY, by_value},
    {LOOP_SET_DIRECT_IO, by_value},
    {LOOP_SET_BLOCK_SIZE, by_value},
    {BLKGETSIZE, fetch<unsigned long>},
    {BLKGETSIZE64, fetch<uint64_t>},
    {BLKSSZGET, fetch<int>},
    {BLKPBSZGET, fetch<unsigned>},
    {BLKIOMIN, fetch<unsigned>},
    {BLKIOOPT, fetch<unsigned>},
    {BLKALIGNOFF, fetch<int>},
    {BLKDISCARDZEROES, fetch<unsigned>},
    {BLKSECTGET, fetch<unsigned short>},
    {BLKBSZGET, fetch<int>},
    {BLKBSZSET, set_soft_block_size},
    {BLKROGET, fetch<int>},
    {BLKROSET, pass<int>},
    {BLKRAGET, fetch<unsigned long>},
    {BLKFRAGET, fetch<unsigned long>},
    {BLKRASET, by_value},
    {BLKFRASET, by_value},
    {BLKROTATIONAL, fetch<unsigned short>},
    {BLKGETDISKSEQ, get_sequence},
    {BLKGETZONESZ, fetch<unsigned>},
    {BLKGETNRZONES, fetch<unsigned>},
    {BLKREPORTZONE, no_zones},
    {BLKRESETZONE, no_zones},
    {BLKOPENZONE, no_zones},
    {BLKCLOSEZONE, no_zones},
    {BLKFINISHZONE, no_zones},
    {HDIO_GETGEO, no_geometry},
    {BLKFLSBUF, by_value},
    {BLKDISCARD, discard},
    {BLKSECDISCARD, secure_discard},
    {BLKZEROOUT, zero_out},
    {BLKRRPART, reread_partitions},
    {BLKPG, edit_partitions},
};

}  // namespace

Result<int> native_ioctl(NodeHandle& handle, engine::IoctlRequest& request, const engine::Caller& caller) {
  const auto* entry = std::ranges::find(kEntries, request.command, &Entry::command);
  const engine::IoctlRule* rule = engine::find_ioctl(request.command);
  // As the loop driver says of what neither it nor the block layer knows.
  if (entry == std::end(kEntries) || !rule) return fail(EINVAL, "ioctl {:#x}", request.command);
  const auto device = handle.native();
  const Call call{handle, device ? device->get() : -1, request, caller};
  // The table was made for 64-bit programs: others go to the device itself, where the kernel translates.
  if (request.compat && !rule->free_too)
    return fail(ENOTTY, "ioctl {:#x} of a 32-bit program", request.command);
  const auto may = engine::may_call(*rule, handle.options().write, [&] { return caller.has_sys_admin(); });
  if (!may) return propagate(may);
  // As loopfsd does for those who ask it by io.loopfs.Manager.
  if (rule->right == engine::Right::kAdmin && rule->argument == engine::Argument::kValue &&
      request.argument > rule->most)
    return fail(EINVAL, "ioctl {:#x} to {}", request.command, request.argument);
  if (device) return entry->function(call);
  if (!rule->free_too) return not_bound(call);
  if (rule->argument == engine::Argument::kValue && request.command != BLKRRPART)
    return 0;  // nothing to flush
  return entry->function(call);
}

}  // namespace loopfs::kernel
