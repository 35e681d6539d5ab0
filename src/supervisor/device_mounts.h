// mount(2) of a device.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "supervisor/caller_request.h"
#include "supervisor/launcher.h"
#include "supervisor/mount_tables.h"
#include "supervisor/wanted.h"

namespace loopfs::supervisor {

// Thread-safe.
class DeviceMounts {
 public:
  DeviceMounts(MountTables& tables, Launcher& launcher, std::set<std::string> device_types);

  Answer mount(const Target& target);

 private:
  Answer without_source(const Target& target, const std::vector<Fd>& places, const std::string& place);
  // None: it is no device of any instance.
  std::optional<engine::NodeId> node_of(const mounter::Reply& found) const;
  Answer mount_served(const Target& target, const Wanted& wanted);
  Answer mount_device(const Target& target, const Wanted& wanted);
  Answer mount_again(const Target& target, const Wanted& wanted, const Mounts::Known& known);
  Answer mount_by_program(const Target& target, const Wanted& wanted);
  Answer attach_kernels(const Target& target, const Wanted& wanted, const Fd& mount);

  MountTables& tables_;
  Launcher& launcher_;
  const std::set<std::string>
      device_types_;  // the kernel's that want a device, and those that a program serves
};

}  // namespace loopfs::supervisor
