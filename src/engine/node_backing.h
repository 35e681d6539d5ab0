// A device of this instance as the backing file of another.
#pragma once

#include "engine/given_file.h"
#include "engine/handle.h"

namespace loopfs::engine {

// Served without a system call: the server reading its own mount could wait for itself. The descriptor
// keeps the lower device open; as in the kernel it is the caller's own opening and counts once.
class NodeBacking final : public Backing {
 public:
  // `given` is the caller's descriptor of the node, kept as the kernel keeps it. Errors: EINVAL if it is not
  // bound.
  static Result<std::shared_ptr<Backing>> create(const std::shared_ptr<Core>& core, GivenFile given,
                                                 const Caller& caller);

  Result<size_t> read(uint64_t offset, std::span<std::byte> bytes) override {
    return node_->read(offset, bytes);
  }
  Result<size_t> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync(bool data_only) override { return node_->sync(data_only); }
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero(uint64_t offset, uint64_t length) override;
  Result<uint64_t> size() override { return node_->view().size; }
  bool writable() const override { return writable_; }
  Identity identity() const override { return identity_; }
  Base base() override;
  uint32_t discard_granularity() const override;
  bool rotational() const override;
  uint32_t direct_unit() const override { return node_->view().block_size; }
  bool prepare_direct(const Caller&) override { return true; }  // nothing is cached here anyway
  bool opened_direct() const override { return opened_direct_; }
  std::optional<NodeId> node() const override { return node_->id(); }

 private:
  NodeBacking() = default;

  GivenFile given_;
  std::unique_ptr<DeviceHandle> node_;
  Identity identity_;
  bool writable_ = false, opened_direct_ = false;
};

}  // namespace loopfs::engine
