#include "engine/loop_ioctl.h"

#include <linux/loop.h>

#include <algorithm>
#include <cstring>

#include "engine/loop_bind.h"
#include "engine/user_memory.h"

namespace loopfs::engine {
namespace {

struct Call {
  DeviceHandle& handle;
  IoctlRequest& request;
  const Caller& caller;
};

Result<int> set_fd(const Call& call) {
  loop_config config{};
  config.fd = static_cast<uint32_t>(call.request.argument);
  return configure(call.handle, config, call.caller);
}

Result<int> configure_call(const Call& call) {
  const auto config = read_user<loop_config>(call.caller, call.request.argument);
  if (!config) return propagate(config);
  return configure(call.handle, *config, call.caller);
}

Result<int> change_fd_call(const Call& call) {
  return change_fd(call.handle, static_cast<int>(call.request.argument), call.caller);
}

Result<int> clear(const Call& call) {
  std::unique_lock lock(call.handle.core().mutex());
  // Whether the caller is the only opener decides; somebody who is just leaving must not count.
  if (call.handle.device().openers() > 1) call.handle.core().settle(lock, *call.handle.slot());
  auto cleared = call.handle.device().clear();
  if (!cleared) return propagate(cleared);
  return 0;
}

// --- status ---

Result<loop_info64> status_of(const Call& call) {
  std::shared_ptr<Backing> backing;
  loop_info64 info{};
  {
    const std::lock_guard lock(call.handle.core().mutex());
    const instance::Device& device = call.handle.device();
    if (auto bound = device.require_bound(); !bound) return propagate(bound);
    const instance::Settings& settings = device.settings();
    info.lo_number = device.number();
    info.lo_offset = settings.offset;
    info.lo_sizelimit = settings.sizelimit;
    info.lo_flags = settings.flags;
    std::memcpy(info.lo_file_name, settings.file_name.data(), LO_NAME_SIZE);
    backing = call.handle.slot()->backing;
  }
  const auto identity = backing->identity();
  info.lo_device = identity.device;
  info.lo_inode = identity.inode;
  info.lo_rdevice = identity.raw_device;
  return info;
}

// struct compat_loop_info: what a 32-bit program passes.
struct CompatInfo {
  int32_t number;
  uint16_t device;
  uint32_t inode;
  uint16_t raw_device;
  int32_t offset, encrypt_type, encrypt_key_size, flags;
  char name[LO_NAME_SIZE];
  unsigned char encrypt_key[LO_KEY_SIZE];
  uint32_t init[2];
  char reserved[4];
};

Result<int> get_status(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  const auto info = status_of(call);
  if (!info) return propagate(info);
  const auto old = instance::to_old_info(*info);
  if (!old) return propagate(old);
  if (!call.request.compat) {
    if (auto put = write_user(call.caller, call.request.argument, *old); !put) return propagate(put);
    return 0;
  }
  CompatInfo compat{};
  compat.number = old->lo_number;
  compat.device = static_cast<uint16_t>(old->lo_device);
  compat.inode = static_cast<uint32_t>(old->lo_inode);
  compat.raw_device = static_cast<uint16_t>(old->lo_rdevice);
  compat.offset = old->lo_offset;
  compat.flags = old->lo_flags;
  std::memcpy(compat.name, old->lo_name, LO_NAME_SIZE);
  if (compat.device != old->lo_device || compat.raw_device != old->lo_rdevice ||
      compat.inode != old->lo_inode) {
    return fail(EOVERFLOW, "loop_info");
  }
  if (auto put = write_user(call.caller, call.request.argument, compat); !put) return propagate(put);
  return 0;
}

Result<int> get_status64(const Call& call) {
  if (call.request.argument == 0) return fail(EINVAL, "no argument");
  const auto info = status_of(call);
  if (!info) return propagate(info);
  if (auto put = write_user(call.caller, call.request.argument, *info); !put) return propagate(put);
  return 0;
}

// The device's size is computed from the file's, which must not be asked for under the lock.
Result<uint64_t> size_with(const std::shared_ptr<Backing>& backing, const instance::Settings& settings) {
  const auto size = backing->size();
  if (!size) return propagate(size);
  return instance::device_size(*size, settings.offset, settings.sizelimit);
}

Result<int> set_status_from(const Call& call, const loop_info64& info) {
  DeviceHandle& handle = call.handle;
  bool scan;
  {
    std::shared_ptr<Backing> backing;
    instance::Settings settings;
    uint32_t block_size;
    {
      const std::lock_guard lock(handle.core().mutex());
      if (auto bound = handle.device().require_bound(); !bound) return propagate(bound);
      backing = handle.slot()->backing;
      settings = handle.device().settings();
      block_size = handle.device().block_size();
    }
    const instance::Settings before = settings;
    if (auto valid = instance::apply_info(settings, info); !valid) return propagate(valid);
    settings.flags = instance::flags_after_set_status(settings.flags, info.lo_flags);
    scan = !(before.flags & LO_FLAGS_PARTSCAN) && (settings.flags & LO_FLAGS_PARTSCAN);
    if ((settings.flags & LO_FLAGS_DIRECT_IO) &&
        !can_use_direct(*backing, settings.offset, block_size, call.caller)) {
      settings.flags &= ~uint32_t{LO_FLAGS_DIRECT_IO};
    }
    const bool moved = before.offset != settings.offset || before.sizelimit != settings.sizelimit;
    const auto size = moved ? size_with(backing, settings) : Result<uint64_t>(0);
    if (!size) return fail(EIO, "size of the backing file");

    Transaction change(handle.core());
    if (auto bound = handle.device().require_bound(); !bound) return propagate(bound);
    if (handle.slot()->backing != backing) return fail(EAGAIN, "changed at the same time");
    backing->use_direct(settings.flags & LO_FLAGS_DIRECT_IO);
    handle.device().set_settings(settings);
    if (moved) {
      handle.device().set_size(*size);
      change.contents_changed(*handle.slot());
    }
  }
  if (scan) (void)handle.core().rescan(handle.slot());
  return 0;
}

Result<int> set_status(const Call& call) {
  loop_info old{};
  if (call.request.compat) {
    const auto compat = read_user<CompatInfo>(call.caller, call.request.argument);
    if (!compat) return propagate(compat);
    old.lo_offset = compat->offset;
    old.lo_encrypt_type = compat->encrypt_type;
    old.lo_encrypt_key_size = compat->encrypt_key_size;
    old.lo_flags = compat->flags;
    std::memcpy(old.lo_name, compat->name, LO_NAME_SIZE);
  } else {
    const auto info = read_user<loop_info>(call.caller, call.request.argument);
    if (!info) return propagate(info);
    old = *info;
  }
  return set_status_from(call, instance::from_old_info(old));
}

Result<int> set_status64(const Call& call) {
  const auto info = read_user<loop_info64>(call.caller, call.request.argument);
  if (!info) return propagate(info);
  return set_status_from(call, *info);
}

// --- single properties ---

Result<int> set_capacity(const Call& call) {
  std::shared_ptr<Backing> backing;
  instance::Settings settings;
  {
    const std::lock_guard lock(call.handle.core().mutex());
    if (auto bound = call.handle.device().require_bound(); !bound) return propagate(bound);
    backing = call.handle.slot()->backing;
    settings = call.handle.device().settings();
  }
  const auto size = size_with(backing, settings);
  if (!size) return fail(EIO, "size of the backing file");
  Transaction change(call.handle.core());
  if (auto bound = call.handle.device().require_bound(); !bound) return propagate(bound);
  call.handle.device().set_size(*size);
  change.contents_changed(*call.handle.slot());
  return 0;
}

Result<int> set_direct_io(const Call& call) {
  const bool wanted = call.request.argument != 0;
  std::shared_ptr<Backing> backing;
  uint64_t offset;
  uint32_t block_size;
  {
    const std::lock_guard lock(call.handle.core().mutex());
    const instance::Device& device = call.handle.device();
    if (auto bound = device.require_bound(); !bound) return propagate(bound);
    if (device.direct_io() == wanted) return 0;
    backing = call.handle.slot()->backing;
    offset = device.settings().offset;
    block_size = device.block_size();
  }
  if (wanted) {
    if (!can_use_direct(*backing, offset, block_size, call.caller)) return fail(EINVAL, "no direct I/O");
    (void)backing->sync(false);  // what is in the page cache would otherwise be written back under us
  }
  const std::lock_guard lock(call.handle.core().mutex());
  if (call.handle.slot()->backing != backing) return fail(ENXIO, "not bound");
  instance::Settings settings = call.handle.device().settings();
  settings.flags =
      wanted ? settings.flags | LO_FLAGS_DIRECT_IO : settings.flags & ~uint32_t{LO_FLAGS_DIRECT_IO};
  call.handle.device().set_settings(settings);
  backing->use_direct(wanted);
  return 0;
}

Result<void> may_claim(DeviceHandle& handle, std::unique_lock<std::mutex>& lock) {
  if (handle.options().exclusive) return {};
  auto may = handle.device().may_claim(handle.partition());
  if (!may) {
    handle.core().settle(lock, *handle.slot());
    may = handle.device().may_claim(handle.partition());
  }
  return may;
}

Result<int> set_block_size(const Call& call) {
  DeviceHandle& handle = call.handle;
  instance::Device& device = handle.device();
  std::shared_ptr<Backing> backing;
  {
    std::unique_lock lock(handle.core().mutex());
    if (auto may = may_claim(handle, lock); !may) return propagate(may);
    if (auto bound = device.require_bound(); !bound) return propagate(bound);
    if (call.request.argument == device.block_size()) return 0;
    backing = handle.slot()->backing;
  }
  const uint32_t unit = backing->direct_unit();  // not under the lock
  Transaction change(handle.core());
  if (handle.slot()->backing != backing || !device.bound()) return fail(ENXIO, "not bound");
  // The kernel's parameter is an unsigned int.
  uint64_t size = static_cast<uint32_t>(call.request.argument);
  if (size == 0) size = device.direct_io() ? std::max(unit, instance::kSectorSize) : instance::kSectorSize;
  if (auto valid = instance::check_block_size(size); !valid) return propagate(valid);
  device.set_block_size(static_cast<uint32_t>(size));
  handle.slot()->set_rotational(handle.slot()->rotational);
  if (device.direct_io() && (size < unit || (device.settings().offset & (unit - 1)))) {
    instance::Settings settings = device.settings();
    settings.flags &= ~uint32_t{LO_FLAGS_DIRECT_IO};
    device.set_settings(settings);
    backing->use_direct(false);
  }
  change.contents_changed(*handle.slot());
  return 0;
}

struct Entry {
  unsigned command;
  Result<int> (*function)(const Call&);
};

constexpr Entry kEntries[] = {
    {LOOP_SET_FD, set_fd},
    {LOOP_CLR_FD, clear},
    {LOOP_SET_STATUS, set_status},
    {LOOP_GET_STATUS, get_status},
    {LOOP_SET_STATUS64, set_status64},
    {LOOP_GET_STATUS64, get_status64},
    {LOOP_CHANGE_FD, change_fd_call},
    {LOOP_SET_CAPACITY, set_capacity},
    {LOOP_SET_DIRECT_IO, set_direct_io},
    {LOOP_SET_BLOCK_SIZE, set_block_size},
    {LOOP_CONFIGURE, configure_call},
};

}  // namespace

Result<int> loop_ioctl(DeviceHandle& handle, IoctlRequest& request, const Caller& caller) {
  const auto* entry = std::ranges::find(kEntries, request.command, &Entry::command);
  if (entry == std::end(kEntries)) return fail(EINVAL, "ioctl {:#x}", request.command);
  return entry->function({handle, request, caller});
}

}  // namespace loopfs::engine
