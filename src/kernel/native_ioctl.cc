#include "kernel/native_ioctl.h"

#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>

#include "engine/user_memory.h"
#include "kernel/bind.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)  // linux/fs.h, 5.15
#endif

namespace loopfs::kernel {
namespace {

struct Call {
  NodeHandle& handle;
  int device;  // the kernel device; -1: the node is free
  engine::IoctlRequest& request;
  const engine::Caller& caller;
};

enum class Right {
  kAnyone,
  kWriter,  // the device open for writing, or CAP_SYS_ADMIN
  kAdmin,   // CAP_SYS_ADMIN
};

Result<int> answered(int result, unsigned command) {
  if (result < 0) return errno_fail("ioctl {:#x}", command);
  return result;
}

Result<int> by_value(const Call& call) {
  return answered(::ioctl(call.device, call.request.command, call.request.argument), call.request.command);
}

template <typename T>
Result<int> fetch(const Call& call) {
  T value{};
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
  return answered(::ioctl(call.device, LOOP_SET_STATUS64, &*info), LOOP_SET_STATUS64);
}

Result<int> set_old_status(const Call& call) {
  auto info = engine::read_user<loop_info>(call.caller, call.request.argument);
  if (!info) return propagate(info);
  return answered(::ioctl(call.device, LOOP_SET_STATUS, &*info), LOOP_SET_STATUS);
}

Result<int> change_fd(const Call& call) {
  auto file = porter::ForeignFile::take(call.handle.engine().options().strangers, call.caller.thread(),
                                        static_cast<int>(call.request.argument));
  if (!file) return propagate(file);
  if (auto changed = file->change_to(call.device); !changed) return propagate(changed);
  return 0;
}

Result<int> reread_partitions(const Call& call) {
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
  argument->data = &*partition;
  argument->datalen = sizeof *partition;
  return answered(::ioctl(call.device, BLKPG, &*argument), BLKPG);
}

struct Entry {
  unsigned command;
  Right right;
  bool free_too;  // also of a device that is free
  Result<int> (*function)(const Call&);
};

using Range = std::array<uint64_t, 2>;

constexpr Entry kEntries[] = {
    {LOOP_CLR_FD, Right::kAnyone, false, by_value},
    {LOOP_SET_STATUS, Right::kWriter, false, set_old_status},
    {LOOP_GET_STATUS, Right::kAnyone, false, get_status<loop_info>},
    {LOOP_SET_STATUS64, Right::kWriter, false, set_status},
    {LOOP_GET_STATUS64, Right::kAnyone, false, get_status<loop_info64>},
    {LOOP_CHANGE_FD, Right::kAnyone, false, change_fd},
    {LOOP_SET_CAPACITY, Right::kWriter, false, by_value},
    {LOOP_SET_DIRECT_IO, Right::kWriter, false, by_value},
    {LOOP_SET_BLOCK_SIZE, Right::kWriter, false, by_value},
    {BLKGETSIZE, Right::kAnyone, true, fetch<unsigned long>},
    {BLKGETSIZE64, Right::kAnyone, true, fetch<uint64_t>},
    {BLKSSZGET, Right::kAnyone, false, fetch<int>},
    {BLKPBSZGET, Right::kAnyone, false, fetch<unsigned>},
    {BLKIOMIN, Right::kAnyone, false, fetch<unsigned>},
    {BLKIOOPT, Right::kAnyone, false, fetch<unsigned>},
    {BLKALIGNOFF, Right::kAnyone, true, fetch<int>},
    {BLKDISCARDZEROES, Right::kAnyone, true, fetch<unsigned>},
    {BLKSECTGET, Right::kAnyone, false, fetch<unsigned short>},
    {BLKBSZGET, Right::kAnyone, false, fetch<int>},
    {BLKBSZSET, Right::kAdmin, false, pass<int>},
    {BLKROGET, Right::kAnyone, true, fetch<int>},
    {BLKROSET, Right::kAdmin, false, pass<int>},
    {BLKRAGET, Right::kAnyone, false, fetch<unsigned long>},
    {BLKFRAGET, Right::kAnyone, false, fetch<unsigned long>},
    {BLKRASET, Right::kAdmin, false, by_value},
    {BLKFRASET, Right::kAdmin, false, by_value},
    {BLKROTATIONAL, Right::kAnyone, false, fetch<unsigned short>},
    {BLKGETDISKSEQ, Right::kAnyone, true, fetch<uint64_t>},
    {BLKFLSBUF, Right::kAdmin, true, by_value},
    {BLKDISCARD, Right::kAnyone, false, pass<Range>},
    {BLKSECDISCARD, Right::kAnyone, false, pass<Range>},
    {BLKZEROOUT, Right::kAnyone, false, pass<Range>},
    {BLKRRPART, Right::kAdmin, false, reread_partitions},
    {BLKPG, Right::kAdmin, false, edit_partitions},
};

Result<void> may(const Call& call, Right right) {
  if (right == Right::kAnyone || (right == Right::kWriter && call.handle.options().write)) return {};
  if (call.caller.has_sys_admin()) return {};
  return fail(right == Right::kWriter ? EPERM : EACCES, "needs CAP_SYS_ADMIN");
}

}  // namespace

Result<int> native_ioctl(NodeHandle& handle, engine::IoctlRequest& request, const engine::Caller& caller) {
  const auto* entry = std::ranges::find(kEntries, request.command, &Entry::command);
  // As the block layer says of a device's own commands, which these would be.
  if (entry == std::end(kEntries)) return fail(ENOTTY, "ioctl {:#x}", request.command);
  const auto device = handle.native();
  const Call call{handle, device ? device->get() : -1, request, caller};
  // The table was made for 64-bit programs: others go to the device itself, where the kernel translates.
  if (request.compat && !entry->free_too)
    return fail(ENOTTY, "ioctl {:#x} of a 32-bit program", request.command);
  if (auto allowed = may(call, entry->right); !allowed) return propagate(allowed);
  if (device) return entry->function(call);
  if (!entry->free_too) return fail(ENXIO, "ioctl {:#x}: not bound", request.command);
  if (entry->right == Right::kAdmin) return 0;  // nothing to flush
  return entry->function(call);
}

}  // namespace loopfs::kernel
