// Open nodes of the kernel engine.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "engine/control_node.h"
#include "kernel/kernel_engine.h"

namespace loopfs::kernel {

// A loopN that was opened while it was free. Once the device is bound, the open file goes on working: what is
// asked of it is passed on to a descriptor of ours of the kernel device.
class NodeHandle final : public engine::OpenNode {
 public:
  NodeHandle(std::shared_ptr<KernelEngine> engine, uint32_t number, const engine::OpenOptions& options);
  // An earlier server's, which the journal has; `native`: its descriptor of the kernel device, or none.
  NodeHandle(std::shared_ptr<KernelEngine> engine, uint32_t number, const engine::OpenOptions& options,
             Fd native);
  ~NodeHandle() override;

  NodeId id() const override { return NodeId::of_device(number_); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) override;
  Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync(bool data_only) override;
  Result<void> allocate(int mode, uint64_t offset, uint64_t length) override;
  Result<int> ioctl(engine::IoctlRequest& request, const engine::Caller& caller) override;
  // Writes out: the kernel does at the last close of a device, and programs count on it.
  void descriptor_closing() override;

  KernelEngine& engine() const { return *engine_; }
  uint32_t number() const { return number_; }
  const engine::OpenOptions& options() const { return options_; }
  // The kernel device, open as the handle is; null while the device is free.
  std::shared_ptr<Fd> native();
  Result<void> configure(const engine::IoctlRequest& request, const engine::Caller& caller);

 private:
  // `autoclear`: the device would be gone if this process were, so the journal has the descriptor, too.
  void keep(Fd native, bool autoclear);
  // Closes our descriptor of the device, everywhere. It is opened again when it is needed.
  void let_go();

  const std::shared_ptr<KernelEngine> engine_;
  const uint32_t number_;
  const engine::OpenOptions options_;
  std::mutex mutex_;  // guards native_
  std::shared_ptr<Fd> native_;
  bool recorded_ = false;  // native_ is in the journal; guarded by mutex_
  std::atomic<bool> written_ = false;
  std::atomic<bool> cleared_ = false;  // LOOP_CLR_FD has succeeded here
};

class ControlHandle final : public engine::ControlNode {
 public:
  explicit ControlHandle(std::shared_ptr<KernelEngine> engine) : engine_(std::move(engine)) {}

  Result<int> ioctl(engine::IoctlRequest& request, const engine::Caller& caller) override;

 private:
  const std::shared_ptr<KernelEngine> engine_;
};

}  // namespace loopfs::kernel
