// One instance that the daemon serves.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/threads.h"
#include "daemon/keeper_journal.h"
#include "daemon/tenant.h"
#include "fusefs/instance_server.h"
#include "kernel/kernel_engine.h"
#include "varlink/json.h"

namespace loopfs::daemon {

// What makes an instance, and what a new server process needs to go on with it.
struct InstanceRecord {
  uint64_t id = 0;
  std::optional<uint32_t> max;
  uid_t uid = 0;  // of the nodes
  gid_t gid = 0;
  mode_t mode = 0600;
  uid_t root_uid = 0;  // root of the user namespace that it belongs to, in the first one's numbers
  gid_t root_gid = 0;
  dev_t device = 0;                    // st_dev of everything in it
  sys::NamespaceId pid_namespace;      // of who made it
  std::vector<std::byte> begun_with;   // FUSE_INIT; empty until it came

  std::string encode() const;
  static Result<InstanceRecord> decode(const std::string& text);
};

// Owned by the Manager. Ends when its mount does.
struct Instance {
  InstanceRecord record;
  Fd user_namespace;
  Lineage lineage;
  policy::Charge charge;
  std::unique_ptr<KeeperJournal> journal;
  std::shared_ptr<base::Lane> requests, closing;
  std::shared_ptr<kernel::KernelEngine> engine;
  std::unique_ptr<fusefs::InstanceServer> server;
};

}  // namespace loopfs::daemon
