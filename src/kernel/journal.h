// What has to outlive the server process of an instance, and the kernel does not know.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/node_owner.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {

struct BindingRecord {
  uint32_t kernel_device = 0;  // K of the host's loopK
  uint64_t sequence = 0;       // disk sequence number when it was bound
  std::string backing_path;
  std::shared_ptr<const sys::LoopBinding> token;  // none: about to be bound
  // The file that it is about to be bound to: tells whether that has come to pass.
  uint64_t backing_device = 0, backing_inode = 0;
};

struct DeviceRecord {
  uint32_t number = 0;  // N of the instance's loopN
  std::map<uint32_t, engine::NodeOwner> owners;
  std::optional<BindingRecord> binding;
};

// Calls return once the record is safe.
class Journal {
 public:
  virtual ~Journal() = default;
  virtual Result<void> put(const DeviceRecord& record) = 0;
  // As safe, but nobody is told if there is no room for it.
  virtual void put_soon(const DeviceRecord& record) = 0;
  // As safe, and whether there was room is what answer() tells later. It must be asked.
  virtual Result<uint64_t> put_ahead(const DeviceRecord& record) = 0;
  virtual Result<void> answer(uint64_t ticket) = 0;
  virtual void drop(uint32_t number) = 0;
  virtual void put_control(const engine::NodeOwner& owner) = 0;
  // An open file description of a node, by its handle's number. These two need not be safe when they return.
  virtual void note_open(uint64_t handle) = 0;
  virtual void forget_open(uint64_t handle) = 0;
  // The descriptor of the kernel device behind it.
  virtual Result<void> put_open(uint64_t handle, int native) = 0;
  // While it is still open here; closed everywhere else when this returns.
  virtual void drop_open(uint64_t handle) = 0;
};

}  // namespace loopfs::kernel
