// mount(2) with MS_REMOUNT, and open_tree(2) of what may be remounted.
#pragma once

#include "supervisor/caller_request.h"
#include "supervisor/launcher.h"
#include "supervisor/mount_tables.h"

namespace loopfs::supervisor {

// Thread-safe.
class Remounts {
 public:
  Remounts(MountTables& tables, Launcher& launcher) : tables_(tables), launcher_(launcher) {}

  Answer remount(const Target& target);

  // ENOSYS for the root of a mount of ours: mount(8) of 2.39 and newer then remounts it by mount(2). The new calls reconfigure
  // a superblock past us, which FUSE refuses, and the kernel to the sandbox.
  Answer open_tree(const Target& target);

 private:
  Answer remount_program(const Target& target, std::vector<Fd> places, const std::string& place,
                         const Mounts::Known& known);
  Answer remount_writable(const Target& target, std::vector<Fd> places, const std::string& place,
                          const Mounts::Known& known);
  Answer remount_kernels(const Target& target, const std::vector<Fd>& places, const std::string& place,
                         const KernelMounts::Known& known);

  MountTables& tables_;
  Launcher& launcher_;
};

}  // namespace loopfs::supervisor
