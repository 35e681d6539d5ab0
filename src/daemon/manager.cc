#include "daemon/manager.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/foreign_caller.h"
#include "kernel/kernel_features.h"
#include "sys/loop_device.h"
#include "sys/mount_api.h"

namespace loopfs::daemon {
namespace {

// More than root and a hundred users can take.
constexpr unsigned kMostThreads = 116 * Allotments::kThreadsOfOwner;
constexpr unsigned kClosingWidth = 4;
constexpr std::chrono::nanoseconds kSweepEvery = std::chrono::milliseconds(250);
constexpr std::chrono::nanoseconds kSweepAtLeast = std::chrono::seconds(2);
constexpr int kSweepShare = 50;  // of the time; thousands of devices take some milliseconds
constexpr std::chrono::seconds kPatience{3};
// For what is under way when the server is to end. What is not through by then is done again by the next one.
constexpr std::chrono::seconds kLastMoments{1};

std::chrono::milliseconds left_until(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

constexpr int kInitialDevices = 2;  // of a whole /dev

constexpr uint64_t kSerialsOfServer = uint64_t{1} << 24;  // open files that one server process can tell apart

std::string item_name(uint64_t id) {
  return fmt::format("instance/{}", id);
}

// The id outside that was asked for, or the namespace's root.
Result<uint32_t> choose(std::optional<uint32_t> inside, const std::vector<sys::IdRange>& map, uint32_t root,
                        const char* option) {
  if (!inside) return root;
  const auto outside = sys::map_out(map, *inside);
  if (!outside) return fail(EINVAL, "{}={}: not mapped in the user namespace", option, *inside);
  return *outside;
}

}  // namespace

Manager::Manager(Options options)
    : options_(std::move(options)),
      device_limits_({.what = "loop devices",
                      .first_namespace = sys::user_namespace_of(::getpid()).value_or(sys::NamespaceId{}),
                      .first_default = options_.config.limits().devices_per_user}),
      instance_limits_({.what = "instances",
                        .first_namespace = sys::user_namespace_of(::getpid()).value_or(sys::NamespaceId{}),
                        .first_default = options_.config.limits().instances_per_user}),
      allotments_(options_.config.limits().connections_per_user),
      threads_(kMostThreads) {}

Result<std::unique_ptr<Manager>> Manager::create(Options options, std::vector<keeper::Item> kept) {
  std::unique_ptr<Manager> manager(new Manager(std::move(options)));
  auto hub = fusefs::Hub::create(&manager->threads_);
  if (!hub) return propagate(hub);
  manager->hub_ = std::move(*hub);
  auto pool = kernel::DevicePool::create(manager->options_.devices);
  if (!pool) return propagate(pool);
  manager->pool_ = std::move(*pool);
  const auto features = kernel::probe_kernel(*manager->pool_);
  if (!features) return propagate(features, "try a loop device of the kernel's");
  if (!features->clears_at_last_close) {
    return fail(EOPNOTSUPP, "this kernel unbinds a loop device while it is open, which lets containers meet");
  }
  if (!features->reads_partitions) manager->partition_worker_ = "/proc/self/exe";
  if (auto restored = manager->restore(std::move(kept)); !restored) return propagate(restored);
  manager->caretaker_ = std::thread([raw = manager.get()] { raw->care(); });
  return manager;
}

Manager::~Manager() {
  stop();
}

bool Manager::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (caretaker_.joinable()) caretaker_.join();
  if (hub_) hub_->stop();  // requests that are not read yet are the next server's
  bool idle = true;
  const auto deadline = std::chrono::steady_clock::now() + kLastMoments;  // for all: a few may be stuck
  for (const auto& instance : all_instances()) {
    instance->watch->stop();
    idle = instance->requests->drain(left_until(deadline)) &&
           instance->closing->drain(left_until(deadline)) && idle;
  }
  return threads_.stop(left_until(deadline)) && idle;
}

// A user of the host has what the rules give, over all containers; root of the machine has no limit but one by a rule
// that is made for it, so that its containers do not share one. Each container has what a user has by default.
void Manager::apply_rules(const Lineage& lineage) {
  const auto& defaults = options_.config.limits();
  const policy::Level outermost = lineage.chain.back();
  const auto& innermost = lineage.chain.front().user_namespace;
  if (!lineage.first_namespace) {
    device_limits_.set_namespace_limit(innermost, defaults.devices_per_user);
    instance_limits_.set_namespace_limit(innermost, defaults.instances_per_user);
  }
  {
    const std::lock_guard lock(mutex_);
    if (!ruled_.insert(outermost.uid).second) return;  // what has been set by hand since then stays
  }
  const auto rules = options_.config.rules_for(outermost.uid, groups_of(outermost.uid));
  const auto apply = [&](policy::Limits& limits, uint64_t by_rule, uint64_t by_default) {
    if (by_rule != by_default) limits.set_limit(outermost, by_rule);
    if (by_rule == by_default && outermost.uid == 0) limits.set_limit(outermost, policy::kUnlimited);
  };
  apply(device_limits_, rules.devices, defaults.devices_per_user);
  apply(instance_limits_, rules.instances, defaults.instances_per_user);
}

// The kernel gives the numbers of dead namespaces to new ones.
void Manager::forget_unused(const Lineage& lineage) {
  if (lineage.first_namespace) return;
  const auto& innermost = lineage.chain.front().user_namespace;
  const std::lock_guard lock(mutex_);
  const bool used = std::ranges::any_of(instances_, [&](const auto& entry) {
    return entry.second->lineage.chain.front().user_namespace == innermost;
  });
  if (used) return;
  device_limits_.forget(innermost);
  instance_limits_.forget(innermost);
}

Result<std::shared_ptr<Instance>> Manager::build(InstanceRecord record, Fd channel, Fd user_namespace,
                                                 Lineage lineage) {
  auto instance = std::make_shared<Instance>();
  const uint64_t id = record.id;
  instance->user_namespace = std::move(user_namespace);
  instance->lineage = std::move(lineage);
  instance->journal = std::make_unique<KeeperJournal>(options_.store, id);
  const policy::Owner owner = owner_of(instance->lineage, record.pid_namespace);
  instance->threads = allotments_.threads_of(owner);
  const auto& budgets = *instance->threads;
  instance->requests = base::Lane::create(
      &threads_, static_cast<unsigned>(options_.config.limits().requests_per_instance), budgets.requests);
  instance->closing = base::Lane::create(&threads_, kClosingWidth, budgets.closing);
  instance->watch = std::make_shared<kernel::OpenWatch>(base::Lane::create(&threads_, 1, budgets.watching),
                                                        instance->closing);
  instance->strangers = {.porters = options_.porters,
                         .permit = [this, owner] { return allotments_.porters().take(owner); },
                         .instance = record.device,
                         .fuse_backing = options_.fuse_backing};
  instance->engine = std::make_shared<kernel::KernelEngine>(kernel::KernelEngine::Options{
      .pool = pool_.get(),
      .watch = instance->watch,
      .journal = instance->journal.get(),
      .escorts = std::make_shared<kernel::Escorts>(
          base::Lane::create(&threads_, kernel::Escorts::kMost, budgets.escorts)),
      .max = record.max,
      .taken = record.taken,
      .uid = record.uid,
      .gid = record.gid,
      .mode = record.mode,
      .strangers = instance->strangers,
      .partition_worker = partition_worker_,
      .charge = [this, chain = instance->lineage.chain]() -> Result<kernel::Charge> {
        auto charge = device_limits_.charge(chain);
        if (!charge) {
          ++refusals_;
          return propagate(charge);
        }
        return kernel::Charge(std::make_shared<policy::Charge>(std::move(*charge)));
      },
      .tell =
          [this, id](const char* what, uint32_t number, uint32_t kernel_device) {
            if (std::string_view(what) == "bind") ++binds_;
            if (std::string_view(what) == "clear") ++clears_;
            events_.emit({.what = what, .instance = id, .device = number, .kernel_device = kernel_device});
          }});
  fusefs::SharedServer::Options server{
      .engine = instance->engine.get(),
      .channel = std::move(channel),
      .user_namespace = instance->user_namespace.get(),
      .device = record.device,
      .root_uid = record.root_uid,
      .root_gid = record.root_gid,
      .session = {.hub = hub_.get(),
                  .lane = instance->requests,
                  .begun_with = record.begun_with,
                  .on_begin =
                      [this, record](std::span<const std::byte> request) mutable {
                        if (!record.begun_with.empty()) return;
                        record.begun_with.assign(request.begin(), request.end());
                        (void)options_.store->set_payload(item_name(record.id), record.encode());
                      },
                  .on_gone = [this, id] { ended(id); }},
      .caller =
          [raw = instance.get()](pid_t tid) {
            return std::make_unique<kernel::ForeignCaller>(&raw->strangers, tid, raw->user_namespace.get());
          },
      .permit = [this, owner] { return allotments_.open_files().take(owner); },
      .serials_from = epoch_ * kSerialsOfServer};
  if (record.whole_dev) {
    KeeperJournal* journal = instance->journal.get();
    server.entries = std::make_unique<fusefs::Entries>(
        fusefs::Entries::Keeping{.put = [journal](const auto& entry) { return journal->put_entry(entry); },
                                 .drop = [journal](uint64_t number) { journal->drop_entry(number); },
                                 .permit = [this, owner] { return allotments_.open_files().take(owner); }},
        epoch_ * kSerialsOfServer);
  }
  auto made = fusefs::SharedServer::create(std::move(server));
  if (!made) return propagate(made);
  instance->server = std::move(*made);
  instance->record = std::move(record);
  return instance;
}

Result<Manager::Mounted> Manager::mount(const Tenant& tenant, const MountOptions& options) {
  const Lineage& lineage = tenant.lineage;
  const auto rules = options_.config.rules_for(lineage.owner, groups_of(lineage.owner));
  if (!rules.allow)
    return fail(EPERM, "make an instance: user {} may not, by the configuration", lineage.owner);
  if (!tenant.admin)
    return fail(EPERM, "make an instance: needs to be root of the user namespace, with CAP_SYS_ADMIN");
  const uint64_t most = options_.config.limits().devices_per_instance;
  if (options.max && (*options.max == 0 || *options.max > most)) {
    return fail(EINVAL, "max={}: from 1 to {} is possible here", *options.max, most);
  }
  auto uid = choose(options.uid, tenant.uids, tenant.root_uid, "uid");
  auto gid = choose(options.gid, tenant.gids, tenant.root_gid, "gid");
  if (!uid) return propagate(uid);
  if (!gid) return propagate(gid);
  apply_rules(lineage);
  auto charge = instance_limits_.charge(lineage.chain);
  if (!charge) {
    ++refusals_;
    forget_unused(lineage);
    return propagate(charge);
  }
  Fd user_namespace(::fcntl(tenant.user_namespace.get(), F_DUPFD_CLOEXEC, 0));
  if (!user_namespace.valid()) return errno_fail("duplicate a descriptor");
  Fd channel(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!channel.valid()) return errno_fail("open '/dev/fuse'");
  auto mount = sys::mount_fuse(
      channel.get(),
      {.source = "loopfs", .subtype = "loopfs", .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC});
  if (!mount) return propagate(mount);
  auto device = sys::device_of_mount(mount->get());
  if (!device) return propagate(device);
  InstanceRecord record{.max = options.max ? options.max : std::optional(static_cast<uint32_t>(most)),
                        .whole_dev = options.whole_dev,
                        .taken = options.taken,
                        .uid = *uid,
                        .gid = *gid,
                        .mode = options.mode.value_or(0600),
                        .root_uid = tenant.root_uid,
                        .root_gid = tenant.root_gid,
                        .device = *device,
                        .pid_namespace = tenant.pid_namespace};
  {
    const std::lock_guard lock(mutex_);
    record.id = next_id_++;
  }
  const uint64_t id = record.id;
  const int kept[] = {channel.get(), user_namespace.get()};
  if (auto put = options_.store->put(item_name(id), record.encode(), kept); !put) return propagate(put);
  auto instance = build(std::move(record), std::move(channel), std::move(user_namespace), lineage);
  if (!instance) {
    (void)options_.store->drop(item_name(id));
    return propagate(instance);
  }
  (*instance)->charge = std::move(*charge);
  // Programs that know of no loop-control look for nodes that are there (busybox). Few, since each is charged; none is no fault.
  for (int i = 0; options.whole_dev && i < kInitialDevices; ++i) (void)(*instance)->engine->add(-1);
  {
    const std::lock_guard lock(mutex_);
    instances_[id] = *instance;
    changed_.notify_all();
  }
  if (auto started = (*instance)->server->start(); !started) {
    ended(id);
    return propagate(started);
  }
  ++mounts_;
  events_.emit({.what = "mount", .instance = id});
  return Mounted{id, std::move(*mount)};
}

// On the instance's lane.
void Manager::ended(uint64_t id) {
  std::shared_ptr<Instance> instance;
  {
    const std::lock_guard lock(mutex_);
    const auto found = instances_.find(id);
    if (found == instances_.end()) return;
    instance = std::move(found->second);
    instances_.erase(found);
  }
  std::vector<uint32_t> devices;
  for (const auto& node : instance->engine->nodes()) {
    if (node.kind == engine::NodeId::Kind::kDevice) devices.push_back(node.device);
  }
  linger(instance->engine->end());
  fusefs::Entries* entries = instance->server->entries();
  instance->journal->drop_all(devices, entries != nullptr ? entries->all() : std::vector<fusefs::Entry>());
  (void)options_.store->drop(item_name(id));
  events_.emit({.what = "unmount", .instance = id});
  forget_unused(instance->lineage);
  // Its own threads cannot wait for themselves.
  threads_.run([instance = std::move(instance)]() mutable {
    while (!instance->requests->drain(kPatience)) {
    }
    instance->server->stop();
    instance.reset();
  });
}

std::vector<std::shared_ptr<Instance>> Manager::all_instances() {
  std::vector<std::shared_ptr<Instance>> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, instance] : instances_) all.push_back(instance);
  return all;
}

void Manager::end_instances() {
  const auto all = all_instances();
  // Each may be stuck in a file system of its own.
  for (const auto& instance : all) {
    instance->closing->run([instance] { (void)instance->engine->end(); });
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (const auto& instance : all) instance->closing->drain(left_until(deadline));
}

void Manager::linger(std::vector<kernel::KernelEngine::Remains> remains) {
  const std::lock_guard lock(mutex_);
  std::ranges::move(remains, std::back_inserter(lingering_));
  changed_.notify_all();
}

void Manager::care() {
  std::unique_lock lock(mutex_);
  bool spares = true;
  while (!stopping_) {
    if (instances_.empty() && lingering_.empty() && clearing_.empty()) {
      if (spares) pool_->remove_spares();
      spares = false;
      changed_.wait(lock);
      continue;
    }
    spares = true;
    std::vector<std::shared_ptr<Instance>> all;
    for (const auto& [id, instance] : instances_) all.push_back(instance);
    std::erase_if(lingering_, [this](const auto& left) {
      if (left.binding->bound()) return false;
      pool_->give_back(left.binding->number());
      return true;
    });
    std::erase_if(clearing_, [this](uint32_t number) {
      if (sys::loop_facts(number)) return false;
      pool_->give_back(number);
      return true;
    });
    lock.unlock();
    const auto start = std::chrono::steady_clock::now();
    for (const auto& instance : all) instance->engine->sweep();
    all.clear();
    const std::chrono::nanoseconds taken = std::chrono::steady_clock::now() - start;
    lock.lock();
    if (!stopping_) changed_.wait_for(lock, std::clamp(kSweepShare * taken, kSweepEvery, kSweepAtLeast));
  }
}

bool Manager::may_see(const Tenant& tenant, const Instance& instance) const {
  if (tenant.rules_machine()) return true;
  // Users of a container that has the host's user namespace have the host's numbers, and nothing else of theirs.
  if (tenant.lineage.first_namespace && !tenant.on_host &&
      !(instance.record.pid_namespace == tenant.pid_namespace)) {
    return false;
  }
  return std::ranges::any_of(instance.lineage.chain, [&](const policy::Level& level) {
    return level == policy::Level{tenant.id, tenant.uid};
  });
}

std::vector<std::shared_ptr<Instance>> Manager::instances(const Tenant& tenant) {
  std::vector<std::shared_ptr<Instance>> seen;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, instance] : instances_) {
    if (may_see(tenant, *instance)) seen.push_back(instance);
  }
  return seen;
}

Counts Manager::counts() {
  Counts counts{
      .mounts_total = mounts_, .binds_total = binds_, .clears_total = clears_, .refusals_total = refusals_};
  const auto all = all_instances();
  counts.instances = all.size();
  {
    const std::lock_guard lock(mutex_);
    counts.lingering = lingering_.size();
  }
  for (const auto& instance : all) {
    const auto [devices, bound] = instance->engine->numbers();
    counts.devices += devices;
    counts.bound += bound;
  }
  return counts;
}

}  // namespace loopfs::daemon
