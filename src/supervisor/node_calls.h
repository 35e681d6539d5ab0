// fstat(2), statx(2) and ftruncate(2) of an opened node, answered as a block device's.
#pragma once

#include <optional>

#include "engine/engine.h"
#include "supervisor/target.h"

namespace loopfs::supervisor {

// The attributes are those that stat(2) of its path has. Thread-safe.
class NodeCalls {
 public:
  // `engine` is borrowed. `instance_device`: st_dev of its nodes.
  NodeCalls(engine::Engine* engine, dev_t instance_device) : engine_(engine), device_(instance_device) {}

  // Whether the call is one of those that the filter traps for this.
  static bool is_for(const sys::Notification& notification);

  // What the call comes to. None: it is not about a node, and for the kernel to perform.
  std::optional<sys::CallResult> perform(const Target& target) const;

 private:
  engine::Engine* engine_;
  dev_t device_;
};

}  // namespace loopfs::supervisor
