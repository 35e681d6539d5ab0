// All instances of the machine.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "daemon/allotments.h"
#include "daemon/events.h"
#include "daemon/instance.h"
#include "fusefs/hub.h"
#include "keeper/store.h"
#include "kernel/device_pool.h"
#include "policy/config.h"
#include "policy/limits.h"

namespace loopfs::daemon {

struct MountOptions {
  std::optional<uint32_t> max;
  std::optional<uint32_t> uid, gid;  // as the tenant's namespace numbers them
  std::optional<mode_t> mode;
  bool whole_dev = false;    // fusefs::Entries are to be had
  std::set<uint32_t> taken;  // numbers that are not given out
};

struct Counts {
  uint64_t instances = 0, devices = 0, bound = 0, lingering = 0;
  uint64_t mounts_total = 0, binds_total = 0, clears_total = 0, refusals_total = 0;
};

// Thread-safe. A thread of its own, the caretaker, notices what the kernel does without telling us: devices that
// their users have cleared.
class Manager {
 public:
  struct Options {
    policy::Config config;
    kernel::DevicePool::Options devices;
    bool fuse_backing = false;
    keeper::Store* store = nullptr;      // borrowed
    porter::Porters* porters = nullptr;  // borrowed
  };
  // Goes on with what `kept` tells of. Errors: no loop-control, no /dev/fuse.
  static Result<std::unique_ptr<Manager>> create(Options options, std::vector<keeper::Item> kept);
  ~Manager();

  // The end of the process, not of the instances: the next server goes on with them. False: some requests are
  // stuck, and the process has to end as it is.
  bool stop();

  // The end of all instances, as that of their mounts: what is bound goes with its last user.
  void end_instances();

  struct Mounted {
    uint64_t instance = 0;
    Fd mount;  // detached; the instance lives as long as the kernel keeps its superblock
  };
  // Errors: EPERM not root of its namespace, or not allowed; EINVAL; ENOSPC over a limit.
  Result<Mounted> mount(const Tenant& tenant, const MountOptions& options);

  // The instances that the tenant may see: root of the machine all, others those of their namespace and user.
  std::vector<std::shared_ptr<Instance>> instances(const Tenant& tenant);
  bool may_see(const Tenant& tenant, const Instance& instance) const;

  Events& events() { return events_; }
  policy::Limits& device_limits() { return device_limits_; }
  policy::Limits& instance_limits() { return instance_limits_; }
  Allotments& allotments() { return allotments_; }
  const policy::Config& config() const { return options_.config; }
  Counts counts();

 private:
  explicit Manager(Options options);

  Result<std::shared_ptr<Instance>> build(InstanceRecord record, Fd channel, Fd user_namespace,
                                          Lineage lineage);
  Result<void> restore(std::vector<keeper::Item> kept);
  Result<void> restore_instance(InstanceRecord record, std::vector<Fd> fds,
                                const std::vector<keeper::Item*>& parts,
                                std::chrono::steady_clock::time_point deadline);
  std::vector<uint32_t> find_orphans();
  void release_orphans(const std::vector<uint32_t>& numbers);
  std::vector<std::shared_ptr<Instance>> all_instances();
  void ended(uint64_t id);
  void apply_rules(const Lineage& lineage);
  void forget_unused(const Lineage& lineage);
  void care();
  void linger(std::vector<kernel::KernelEngine::Remains> remains);

  const Options options_;
  policy::Limits device_limits_, instance_limits_;
  Allotments allotments_;
  Events events_;
  base::Threads threads_;
  std::unique_ptr<fusefs::Hub> hub_;
  std::unique_ptr<kernel::DevicePool> pool_;
  std::string partition_worker_;  // empty: the kernel reads partition tables itself
  uint64_t epoch_ = 0;            // how many servers there were before this one

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  uint64_t next_id_ = 1;
  std::set<uid_t> ruled_;  // users of the host whose limits are set
  std::map<uint64_t, std::shared_ptr<Instance>> instances_;
  std::vector<kernel::KernelEngine::Remains> lingering_;  // of instances that have ended
  std::vector<uint32_t> clearing_;  // kernel devices of earlier servers that had been cleared while open
  bool stopping_ = false;
  std::atomic<uint64_t> mounts_ = 0, binds_ = 0, clears_ = 0, refusals_ = 0;
  std::thread caretaker_;
};

}  // namespace loopfs::daemon
