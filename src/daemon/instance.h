// One instance that the daemon serves.
#pragma once

#include <memory>

#include "base/fd.h"
#include "base/threads.h"
#include "daemon/keeper_journal.h"
#include "daemon/records.h"
#include "daemon/tenant.h"
#include "fusefs/instance_server.h"
#include "kernel/kernel_engine.h"

namespace loopfs::daemon {

// Owned by the Manager. Ends when its mount does.
struct Instance {
  InstanceRecord record;
  Fd user_namespace;
  Lineage lineage;
  policy::Charge charge;
  std::unique_ptr<KeeperJournal> journal;
  std::shared_ptr<base::Lane> requests, closing;
  std::shared_ptr<kernel::OpenWatch> watch;
  porter::Account strangers;
  std::shared_ptr<kernel::KernelEngine> engine;
  std::unique_ptr<fusefs::InstanceServer> server;
};

}  // namespace loopfs::daemon
