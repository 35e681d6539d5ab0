// What loop-control is, whichever engine is behind it.
#pragma once

#include "engine/engine.h"

namespace loopfs::engine {

// An open loop-control: it has ioctls and nothing else.
class ControlNode : public OpenNode {
 public:
  NodeId id() const override { return NodeId::control(); }
  Result<size_t> read(uint64_t, std::span<std::byte>) override { return fail(EINVAL, "read loop-control"); }
  Result<size_t> write(uint64_t, std::span<const std::byte>) override {
    return fail(EINVAL, "write loop-control");
  }
  Result<void> sync(bool) override { return fail(EINVAL, "fsync loop-control"); }
  Result<void> allocate(int, uint64_t, uint64_t) override { return fail(ENODEV, "fallocate loop-control"); }
  void descriptor_closing() override {}
};

}  // namespace loopfs::engine
