#include "engine/loop_bind.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "engine/node_backing.h"

namespace loopfs::engine {
namespace {

// The caller's descriptor, with what fget() and loop_check_backing_file() refuse taken out.
Result<GivenFile> take_file(const Caller& caller, int fd) {
  auto file = caller.take_fd(fd);
  if (!file) return fail(EBADF, "take descriptor {}", fd);
  const int flags = ::fcntl(file->get(), F_GETFL);
  if (flags < 0 || (flags & O_PATH)) return fail(EBADF, "descriptor {}", fd);
  const auto node = caller.node_of_fd(file->get());
  return GivenFile(std::move(*file), node);
}

// loop_check_backing_file: directories and most files of proc have no read_iter, which the kernel finds
// out before anything about the device.
Result<void> check_kind(const GivenFile& file, const Caller& caller) {
  if (file.node()) return {};  // our own mount must not be asked
  const auto status = caller.stat_of_fd(file.get());
  if (!status) return propagate(status, "stat the backing file");
  if (S_ISDIR(status->st_mode)) return fail(EINVAL, "a directory");
  struct statfs system;
  if (major(status->st_dev) == 0 && S_ISREG(status->st_mode) && ::fstatfs(file.get(), &system) == 0 &&
      system.f_type == PROC_SUPER_MAGIC) {
    return fail(EINVAL, "a file of proc");
  }
  return {};
}

Result<std::shared_ptr<Backing>> open_backing(DeviceHandle& handle, GivenFile file, const Caller& caller) {
  if (file.node()) return NodeBacking::create(handle.shared_core(), std::move(file), caller);
  auto backing = FileBacking::create(file.release(), caller);
  if (!backing) return propagate(backing);
  return std::shared_ptr<Backing>(*backing);
}

// loop_validate_file, with partitions of our own devices counted as the devices. Under the lock.
Result<void> check_recursion(Core& core, uint32_t number, const Backing& backing) {
  const Backing* below = &backing;
  while (const auto node = below->node()) {
    if (node->device == number) return fail(EBADF, "loop{} on itself", number);
    const auto slot = core.find(node->device);
    if (!slot || !slot->device->bound() || !slot->backing)
      return fail(EINVAL, "loop{}: not bound", node->device);
    below = slot->backing.get();
  }
  return {};
}

bool shares_bytes(const Slot& slot, const Backing& backing, const instance::Settings& settings) {
  if (!slot.device->bound() || !slot.backing) return false;
  const auto identity = backing.identity(), other = slot.backing->identity();
  const instance::Settings& others = slot.device->settings();
  return identity.device == other.device && identity.inode == other.inode &&
         instance::ranges_overlap(settings.offset, settings.sizelimit, others.offset, others.sizelimit);
}

// Two file systems on the same bytes destroy them. Not EBUSY: mount(8) takes that for a device that somebody else was
// faster to bind, and tries the next one, for ever.
Result<void> check_shared(DeviceHandle& handle, std::unique_lock<std::mutex>& lock, const Backing& backing,
                          const instance::Settings& settings) {
  if ((settings.flags & LO_FLAGS_READ_ONLY) != 0) return {};
  Core& core = handle.core();
  std::vector<std::shared_ptr<Slot>> others;
  for (const auto& [number, slot] : core.slots()) {
    if (slot != handle.slot() && shares_bytes(*slot, backing, settings)) others.push_back(slot);
  }
  for (const auto& slot : others) {
    if (!slot->device->may_claim(0)) core.settle(lock, *slot);
    if (shares_bytes(*slot, backing, settings) && !slot->device->may_claim(0))
      return fail(ETXTBSY, "loop{}: the file is in use by loop{}", handle.device().number(),
                  slot->device->number());
  }
  return {};
}

// Checks the model's rule; if it says EBUSY, waits for closes under way and asks again.
Result<void> may_bind(DeviceHandle& handle, std::unique_lock<std::mutex>& lock) {
  const auto ask = [&] { return handle.device().may_bind(handle.partition(), handle.options().exclusive); };
  auto may = ask();
  if (!may && may.error().code == EBUSY) {
    handle.core().settle(lock, *handle.slot());
    may = ask();
  }
  return may;
}

struct Binding {
  std::shared_ptr<Backing> backing;
  instance::Settings settings;
  uint64_t size = 0;
  uint32_t block_size = 0;
  uint32_t discard_granularity = 0;
  bool rotational = false;
};

// What the binding will be, found out without the lock.
Result<Binding> prepare(DeviceHandle& handle, GivenFile file, const loop_config& config,
                        const Caller& caller) {
  auto backing = open_backing(handle, std::move(file), caller);
  if (!backing) return propagate(backing);
  Binding binding{.backing = std::move(*backing)};
  if (auto valid = instance::check_configure_flags(config.info.lo_flags); !valid) return propagate(valid);
  if (auto valid = instance::apply_info(binding.settings, config.info); !valid) return propagate(valid);
  binding.discard_granularity = binding.backing->discard_granularity();
  binding.rotational = binding.backing->rotational();
  uint32_t flags = config.info.lo_flags;
  if (!binding.backing->writable() || !handle.options().write) flags |= LO_FLAGS_READ_ONLY;
  if (binding.backing->opened_direct()) flags |= LO_FLAGS_DIRECT_IO;
  binding.block_size = config.block_size;
  if (binding.block_size == 0) {
    binding.block_size = flags & LO_FLAGS_DIRECT_IO
                             ? std::max(binding.backing->direct_unit(), instance::kSectorSize)
                             : instance::kSectorSize;
  }
  if (auto valid = instance::check_block_size(binding.block_size); !valid) return propagate(valid);
  if ((flags & LO_FLAGS_DIRECT_IO) &&
      !can_use_direct(*binding.backing, binding.settings.offset, binding.block_size, caller)) {
    flags &= ~uint32_t{LO_FLAGS_DIRECT_IO};
  }
  binding.settings.flags = flags;
  const auto file_size = binding.backing->size();
  if (!file_size) return fail(EINVAL, "size of the backing file");
  binding.size = instance::device_size(*file_size, binding.settings.offset, binding.settings.sizelimit);
  return binding;
}

}  // namespace

bool can_use_direct(Backing& backing, uint64_t offset, uint32_t block_size, const Caller& caller) {
  const uint32_t unit = backing.direct_unit();
  return unit != 0 && block_size >= unit && (offset & (unit - 1)) == 0 && backing.prepare_direct(caller);
}

Result<int> configure(DeviceHandle& handle, const loop_config& config, const Caller& caller) {
  auto file = take_file(caller, static_cast<int>(config.fd));
  if (!file) return propagate(file);
  if (auto kind = check_kind(*file, caller); !kind) return propagate(kind);
  {
    std::unique_lock lock(handle.core().mutex());
    if (auto may = may_bind(handle, lock); !may) return propagate(may);
  }
  std::string path = caller.path_of_fd(static_cast<int>(config.fd));
  auto binding = prepare(handle, std::move(*file), config, caller);
  if (!binding) return propagate(binding);
  {
    Slot& slot = *handle.slot();
    Transaction change(handle.core());
    change.drop(binding->backing);  // if it is not taken
    // Before the rest: both may wait for closes under way.
    auto shared = check_shared(handle, change.lock(), *binding->backing, binding->settings);
    if (auto may = may_bind(handle, change.lock()); !may) return propagate(may);
    if (!shared) return propagate(shared);
    if (auto valid = check_recursion(handle.core(), handle.device().number(), *binding->backing); !valid) {
      return propagate(valid);
    }
    binding->backing->use_direct(binding->settings.flags & LO_FLAGS_DIRECT_IO);
    handle.device().bind(binding->settings, binding->size, binding->block_size,
                         handle.core().table().next_sequence());
    slot.backing = binding->backing;
    slot.backing_path = std::move(path);
    slot.discard_granularity = binding->discard_granularity;
    slot.set_rotational(binding->rotational);
    slot.written = false;
    change.contents_changed(slot);
  }
  // The partitions' nodes are there before the answer is: the kernel's own scan races with its users.
  if (binding->settings.flags & LO_FLAGS_PARTSCAN) (void)handle.core().rescan(handle.slot());
  return 0;
}

Result<int> change_fd(DeviceHandle& handle, int fd, const Caller& caller) {
  auto file = take_file(caller, fd);
  if (!file) return propagate(file);
  if (auto kind = check_kind(*file, caller); !kind) return propagate(kind);
  const auto check_device = [&]() -> Result<void> {
    if (auto bound = handle.device().require_bound(); !bound) return bound;
    if (!(handle.device().settings().flags & LO_FLAGS_READ_ONLY)) return fail(EINVAL, "not read-only");
    return {};
  };
  std::shared_ptr<Backing> old;
  instance::Settings settings;
  uint32_t block_size;
  {
    const std::lock_guard lock(handle.core().mutex());
    if (auto valid = check_device(); !valid) return propagate(valid);
    old = handle.slot()->backing;
    settings = handle.device().settings();
    block_size = handle.device().block_size();
  }
  std::string path = caller.path_of_fd(fd);
  auto backing = open_backing(handle, std::move(*file), caller);
  if (!backing) return propagate(backing);
  const auto size = [&](Backing& of) {
    return instance::device_size(of.size().value_or(0), settings.offset, settings.sizelimit);
  };
  const bool same_size = size(**backing) == size(*old);
  const bool direct = ((settings.flags & LO_FLAGS_DIRECT_IO) || (*backing)->opened_direct()) &&
                      can_use_direct(**backing, settings.offset, block_size, caller);
  const uint32_t granularity = (*backing)->discard_granularity();
  const bool rotational = (*backing)->rotational();
  {
    Slot& slot = *handle.slot();
    Transaction change(handle.core());
    change.drop(*backing);
    if (auto valid = check_device(); !valid) return propagate(valid);
    if (slot.backing != old) return fail(EAGAIN, "changed at the same time");
    if (auto valid = check_recursion(handle.core(), handle.device().number(), **backing); !valid) {
      return propagate(valid);
    }
    if (!same_size) return fail(EINVAL, "a file of another size");
    settings.flags =
        direct ? settings.flags | LO_FLAGS_DIRECT_IO : settings.flags & ~uint32_t{LO_FLAGS_DIRECT_IO};
    (*backing)->use_direct(direct);
    change.drop(std::move(slot.backing));
    slot.backing = *backing;
    slot.backing_path = std::move(path);
    slot.discard_granularity = granularity;
    slot.set_rotational(rotational);
    handle.device().set_settings(settings);
    handle.device().set_sequence(handle.core().table().next_sequence());
    change.contents_changed(slot);
  }
  if (settings.flags & LO_FLAGS_PARTSCAN) (void)handle.core().rescan(handle.slot());
  return 0;
}

}  // namespace loopfs::engine
