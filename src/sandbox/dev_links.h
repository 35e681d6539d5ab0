// The links /dev/loopN, /dev/loopNpM and /dev/loop-control into the instance.
#pragma once

#include "engine/engine.h"

namespace loopfs::sandbox {

// Makes and removes the links as nodes come and go, on whichever thread changes the instance. The directory
// belongs to the sandbox, which may have put anything there: what is not a link of ours is left alone.
class DevLinks final : public engine::Observer {
 public:
  // `dev_directory` is borrowed and must outlive the object.
  explicit DevLinks(int dev_directory) : directory_(dev_directory) {}

  void node_added(engine::NodeId id) override;
  void node_removed(engine::NodeId id) override;

 private:
  int directory_;
};

}  // namespace loopfs::sandbox
