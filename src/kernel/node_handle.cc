#include "kernel/node_handle.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <unistd.h>

#include <limits>
#include <utility>

#include "engine/user_memory.h"
#include "kernel/bind.h"
#include "kernel/native_ioctl.h"

namespace loopfs::kernel {

NodeHandle::NodeHandle(std::shared_ptr<KernelEngine> engine, uint32_t number,
                       const engine::OpenOptions& options)
    : engine_(std::move(engine)), number_(number), options_(options) {
  if (engine_->options().journal) engine_->options().journal->note_open(options_.handle);
}

NodeHandle::NodeHandle(std::shared_ptr<KernelEngine> engine, uint32_t number,
                       const engine::OpenOptions& options, Fd native)
    : engine_(std::move(engine)), number_(number), options_(options), recorded_(native.valid()) {
  if (native.valid()) native_ = std::make_shared<Fd>(std::move(native));
}

NodeHandle::~NodeHandle() {
  let_go();
  if (engine_->options().journal) engine_->options().journal->forget_open(options_.handle);
  engine_->closed(number_, options_.exclusive);
}

void NodeHandle::let_go() {
  const std::lock_guard lock(mutex_);
  // The keeper's first: as long as we have the device open its close is not the last one, which may block.
  if (std::exchange(recorded_, false)) engine_->options().journal->drop_open(options_.handle);
  native_.reset();
}

void NodeHandle::keep(Fd native, bool autoclear) {
  const std::lock_guard lock(mutex_);
  native_ = std::make_shared<Fd>(std::move(native));
  Journal* journal = engine_->options().journal;
  if (!journal || !autoclear) return;
  recorded_ = journal->put_open(options_.handle, native_->get()).has_value();
}

std::shared_ptr<Fd> NodeHandle::native() {
  {
    const std::lock_guard lock(mutex_);
    if (native_) return native_;
  }
  const auto binding = engine_->binding(number_);
  if (!binding) return nullptr;
  auto device = binding->open(0, options_.write ? O_RDWR : O_RDONLY);
  if (!device) return nullptr;
  keep(std::move(*device), false);
  const std::lock_guard lock(mutex_);
  return native_;
}

Result<void> NodeHandle::configure(const engine::IoctlRequest& request, const engine::Caller& caller) {
  loop_config config{};
  if (request.command == LOOP_CONFIGURE) {
    const auto given = engine::read_user<loop_config>(caller, request.argument);
    if (!given) return propagate(given);
    config = *given;
  } else {
    config.fd = static_cast<uint32_t>(request.argument);
  }
  if (request.resent) {
    // The server that was killed may have bound it, and had no time to say so.
    const auto binding = engine_->binding(number_);
    auto file =
        porter::ForeignFile::take(engine_->options().strangers, caller.thread(), static_cast<int>(config.fd));
    const auto device = binding ? binding->open(0, O_RDONLY) : Result<Fd>(fail(ENXIO, "{}", id().name()));
    if (file && device && file->is_behind(device->get())) return {};
  }
  auto bound = bind_device(*engine_, number_, options_, config, caller);
  if (!bound) return propagate(bound);
  keep(std::move(bound->native), (config.info.lo_flags & LO_FLAGS_AUTOCLEAR) != 0);
  return {};
}

Result<size_t> NodeHandle::read(uint64_t offset, std::span<std::byte> bytes) {
  if (!options_.read) return fail(EBADF, "read {}", id().name());
  const auto device = native();
  if (!device) return 0;
  const ssize_t got = ::pread(device->get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (got < 0) return errno_fail("read {}", id().name());
  return static_cast<size_t>(got);
}

Result<size_t> NodeHandle::write(uint64_t offset, std::span<const std::byte> bytes) {
  if (!options_.write) return fail(EBADF, "write {}", id().name());
  const auto device = native();
  if (!device) return fail(ENOSPC, "write {} past its end", id().name());
  const ssize_t put = ::pwrite(device->get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (put < 0) return errno_fail("write {}", id().name());
  written_ = true;
  return static_cast<size_t>(put);
}

Result<void> NodeHandle::sync(bool data_only) {
  const auto device = native();
  if (!device) return {};
  if ((data_only ? ::fdatasync(device->get()) : ::fsync(device->get())) != 0) {
    return errno_fail("fsync {}", id().name());
  }
  return {};
}

Result<void> NodeHandle::allocate(int mode, uint64_t offset, uint64_t length) {
  if (!options_.write) return fail(EBADF, "fallocate {}", id().name());
  const auto device = native();
  if (!device) return fail(EINVAL, "fallocate past the end");
  if (::fallocate(device->get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    return errno_fail("fallocate {}", id().name());
  }
  return {};
}

void NodeHandle::descriptor_closing() {
  engine_->closing(number_);
  constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (written_.exchange(false)) {
    if (const auto device = native()) (void)::sync_file_range(device->get(), 0, 0, kAll);
  }
  // close(2) returns after this, and RELEASE comes some time later: by then the caller may count on the device
  // being unbound, or on nobody having its file open. What keeps the device bound is not ours to close, though.
  if (options_.exclusive) return;
  const auto binding = engine_->binding(number_);
  if (!binding || !binding->ending() || cleared_ || binding->claimed()) let_go();
}

Result<int> NodeHandle::ioctl(engine::IoctlRequest& request, const engine::Caller& caller) {
  if (request.command == LOOP_CONFIGURE || request.command == LOOP_SET_FD) {
    auto configured = configure(request, caller);
    if (!configured) return propagate(configured);
    return 0;
  }
  auto result = native_ioctl(*this, request, caller);
  if (request.command == LOOP_CLR_FD && result) cleared_ = true;
  // Cleared by the server that was killed.
  const bool cleared =
      request.resent && request.command == LOOP_CLR_FD && !result && result.error().code == ENXIO;
  return cleared ? Result<int>(0) : result;
}

Result<int> ControlHandle::ioctl(engine::IoctlRequest& request, const engine::Caller&) {
  const int64_t number = static_cast<int>(request.argument);  // the kernel's loop_add(int)
  switch (request.command) {
    case LOOP_CTL_ADD:
      if (request.resent && number >= 0 &&
          engine_->attributes(NodeId::of_device(static_cast<uint32_t>(number)))) {
        return static_cast<int>(number);
      }
      return engine_->add(number);
    case LOOP_CTL_REMOVE: {
      auto removed = engine_->remove(number);
      // By the server that was killed.
      const bool gone = request.resent && !removed && removed.error().code == ENODEV;
      return gone ? Result<int>(0) : removed;
    }
    case LOOP_CTL_GET_FREE:
      return engine_->get_free();
    default:
      return fail(ENOSYS, "ioctl {:#x}", request.command);
  }
}

}  // namespace loopfs::kernel
