// An instance of loopfsd, as views and a supervisor in another process see it.
#pragma once

#include <memory>
#include <vector>

#include "client/manager_client.h"

namespace loopfs::client {

// Nothing is served here: the instance's nodes are the daemon's, and its devices the kernel's. Thread-safe.
// Observers hear nothing.
class DaemonEngine final : public engine::Engine {
 public:
  struct Options {
    ManagerClient* client = nullptr;  // borrowed
    uint64_t instance = 0;
    Fd nodes;  // the directory with the instance's nodes, as the sandbox has it
  };
  explicit DaemonEngine(Options options) : options_(std::move(options)) {}

  // The node whose st_rdev this is.
  std::optional<engine::NodeId> node_of_device(dev_t device) override;

  // Bytes from the start of its device. None: it is no partition.
  std::optional<uint64_t> start_of(engine::NodeId id);

  void add_observer(engine::Observer*) override {}
  std::vector<engine::NodeId> nodes() override;
  std::optional<engine::NodeAttributes> attributes(engine::NodeId id) override;
  Result<void> change_attributes(engine::NodeId id, const engine::AttributeChange& change) override;
  Result<void> unlink(engine::NodeId id) override;
  Result<std::unique_ptr<engine::OpenNode>> open(engine::NodeId id,
                                                 const engine::OpenOptions& options) override;
  std::vector<engine::DeviceState> snapshot() override;
  Result<std::unique_ptr<engine::MountHold>> hold_for_mount(engine::NodeId id, bool write) override;

 private:
  const Options options_;
};

}  // namespace loopfs::client
