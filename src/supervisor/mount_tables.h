// What the parts of a supervisor that mount, remount and unmount have in common.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "engine/engine.h"
#include "mounter/agent.h"
#include "mounter/config.h"
#include "supervisor/kernel_mounts.h"
#include "supervisor/mounts.h"
#include "supervisor/served_mounts.h"
#include "supervisor/turns.h"

namespace loopfs::supervisor {

// Whom a supervisor mounts with.
struct MountPartners {
  engine::Engine* engine = nullptr;  // borrowed
  mounter::Agent* agent = nullptr;   // borrowed
  mounter::ProgramTable programs;
  dev_t instance_device = 0;                       // st_dev of the instance's nodes
  std::function<void(engine::NodeId)> invalidate;  // drops what the kernel has cached of the node's device
  std::function<void(const std::string&)> report;  // one line to the user; on any thread
};

struct MountTables : MountPartners {
  MountTables(MountPartners partners, KernelMounts::Maker kernel_mounts)
      : MountPartners(std::move(partners)), mounts({invalidate, report}), kernel(std::move(kernel_mounts)) {}

  Mounts mounts;
  ServedMounts served;
  KernelMounts kernel;
  Turns turns;

  bool empty() const { return mounts.empty() && served.empty() && kernel.empty(); }
  // Whether the file system with this st_dev is one of them.
  bool has(dev_t device) const {
    return mounts.find(device) || served.contains(device) || kernel.find(device);
  }
};

}  // namespace loopfs::supervisor
