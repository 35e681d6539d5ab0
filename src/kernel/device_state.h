// What is told of a device of the kernel engine.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/engine.h"
#include "kernel/binding.h"

namespace loopfs::kernel {

// What stat(2) shows of a device that is free: a number that no kernel device has, so that nobody takes it for the host's
// device of that number, in sysfs or elsewhere.
dev_t number_while_free(const engine::NodeId& id);

// For the views. `binding`: null of a free device, which has `sequence_while_free`. `node_of`: the node of the instance
// that stands for a kernel device: the name of a backing file that is one. Asks no backing file's file system.
engine::DeviceState describe(
    uint32_t number, const std::shared_ptr<Binding>& binding, uint64_t sequence_while_free,
    const std::function<std::optional<engine::NodeId>(const sys::LoopName&)>& node_of);

}  // namespace loopfs::kernel
