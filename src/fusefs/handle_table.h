// The open file descriptions of an instance whose server may be replaced while they are open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "engine/engine.h"

namespace loopfs::fusefs {

// The kernel keeps one number for each of them (fuse_file_info::fh) and gives it back with each request, to
// whichever server there is by then. So the number says all that a new server needs to make the handle anew.
struct HandleNumber {
  engine::NodeId node;
  engine::OpenOptions options;
};

// Pure. `serial` tells handles apart: 32 bits of it are kept. None: not such a number.
uint64_t encode_handle(const HandleNumber& handle, uint64_t serial);
std::optional<HandleNumber> decode_handle(uint64_t number);

// Thread-safe.
class HandleTable {
 public:
  // For one more open file, given back by the end of what it returns.
  using Permits = std::function<Result<std::shared_ptr<void>>()>;

  // `serials_from`: no server before has given out serials from here on. `permits`: may be unset.
  HandleTable(engine::Engine* engine, uint64_t serials_from, Permits permits = {})
      : engine_(engine), permits_(std::move(permits)), serial_(serials_from) {}

  // Opens the node in the engine. Errors: ENFILE too many are open; those of Engine::open.
  Result<uint64_t> open(const engine::NodeId& node, engine::OpenOptions options);
  // Null: no such handle, and none can be made.
  std::shared_ptr<engine::OpenNode> find(uint64_t number);
  void close(uint64_t number);
  // One that an earlier server had.
  void adopt(uint64_t number, std::unique_ptr<engine::OpenNode> node);

 private:
  struct Handle {
    std::shared_ptr<engine::OpenNode> node;
    std::shared_ptr<void> permit;
  };
  std::shared_ptr<engine::OpenNode> keep(uint64_t number, std::shared_ptr<engine::OpenNode> node,
                                         std::shared_ptr<void> permit);
  // Of one that is open already: a permit if there is one to be had.
  std::shared_ptr<void> late_permit() const;

  engine::Engine* const engine_;
  const Permits permits_;
  std::mutex mutex_;  // guards what follows
  uint64_t serial_;
  size_t devices_ = 0;  // handles of devices, not of loop-control
  std::unordered_map<uint64_t, Handle> handles_;
};

}  // namespace loopfs::fusefs
