// An instance of loopfsd, as views, links and a supervisor in another process see it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "client/manager_client.h"

namespace loopfs::client {

// Nothing is served here: the instance's nodes are the daemon's, and its devices the kernel's. Thread-safe.
// Observers hear of nodes when refresh() notices them: on the caller's thread, or on one that follows the
// daemon's events.
class DaemonEngine final : public engine::Engine {
 public:
  struct Options {
    ManagerClient* client = nullptr;  // borrowed
    uint64_t instance = 0;
    Fd nodes;  // the directory with the instance's nodes, as the sandbox has it
  };
  static Result<std::unique_ptr<DaemonEngine>> create(Options options);
  ~DaemonEngine() override;

  void start();
  void refresh();

  // The node whose st_rdev this is.
  std::optional<engine::NodeId> node_of_device(dev_t device) override;

  void add_observer(engine::Observer* observer) override { observers_.push_back(observer); }
  std::vector<engine::NodeId> nodes() override;
  std::optional<engine::NodeAttributes> attributes(engine::NodeId id) override;
  Result<void> change_attributes(engine::NodeId id, const engine::AttributeChange& change) override;
  Result<void> unlink(engine::NodeId id) override;
  Result<std::unique_ptr<engine::OpenNode>> open(engine::NodeId id,
                                                 const engine::OpenOptions& options) override;
  std::vector<engine::DeviceState> snapshot() override;
  Result<std::unique_ptr<engine::MountHold>> hold_for_mount(engine::NodeId id, bool write) override;

 private:
  DaemonEngine(Options options, Fd stop);

  const Options options_;
  const Fd stop_;  // eventfd
  std::vector<engine::Observer*> observers_;
  std::mutex mutex_;  // of refresh(): changes are told in their order
  std::set<engine::NodeId> known_;
  std::thread follower_;
};

}  // namespace loopfs::client
