// The user engine: loopfs serves the bytes of a device itself, from the backing file, with no privilege.
#pragma once

#include <memory>
#include <optional>
#include <set>

#include "engine/engine.h"

namespace loopfs::engine {

class Core;

// Thread-safe. Handles and holds may outlive it: they share its state. Its observers hear nothing of its end.
class UserEngine final : public Engine {
 public:
  struct Options {
    std::optional<uint32_t> max;  // most devices; none: as many as there are numbers
    std::set<uint32_t> taken;     // numbers that are not given out
    uid_t uid = 0;                // of the nodes, as the instance's user namespace numbers them
    gid_t gid = 0;
    mode_t mode = 0600;
    uint32_t initial_devices = 1;  // that many exist from the start
  };
  static std::unique_ptr<UserEngine> create(const Options& options);
  ~UserEngine() override;

  // The end of the instance, which the object's end is too: what is bound and unused is cleared, so that it lets go
  // of the devices that it lies on; what is in use goes with its last user. Observers hear nothing any more.
  void end();

  void add_observer(Observer* observer) override;
  std::vector<NodeId> nodes() override;
  std::optional<NodeAttributes> attributes(NodeId id) override;
  Result<void> change_attributes(NodeId id, const AttributeChange& change) override;
  Result<void> unlink(NodeId id) override;
  Result<std::unique_ptr<OpenNode>> open(NodeId id, const OpenOptions& options) override;
  std::vector<DeviceState> snapshot() override;
  std::optional<DeviceState> state(uint32_t number) override;
  Result<std::unique_ptr<MountHold>> hold_for_mount(NodeId id, bool write) override;

 private:
  explicit UserEngine(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  std::shared_ptr<Core> core_;
};

}  // namespace loopfs::engine
