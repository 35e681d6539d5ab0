#include "daemon/service.h"

#include <grp.h>
#include <pwd.h>
#include <sys/sysmacros.h>

#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "daemon/filesystem.h"
#include "sys/loop_device.h"
#include "sys/pidfd.h"
#include "varlink/call.h"

namespace loopfs::daemon {
namespace {

using varlink::Call;
using varlink::Json;

constexpr char kDescription[] = R"(# Private loop devices for containers. Numbers of users and groups are
# those of the caller's user namespace where a method takes them, and of the daemon's where it returns them.
# Errors of the system carry "errno" and "message".
interface io.loopfs.Manager

type Partition (
  number: int,
  device: int,
  start: int,
  size: int,
  uuid: string,
  label: string,
  read_only: bool
)

# kernel_device: the host's name of the device, "loop100003"; absent while the device is free. What is not UTF-8 in
# backing_file and label is written as "\xNN".
type Device (
  number: int,
  kernel_device: ?string,
  device: int,
  backing_file: ?string,
  size: int,
  offset: int,
  sizelimit: int,
  logical_block_size: int,
  physical_block_size: int,
  io_minimum: int,
  io_optimal: int,
  discard_granularity: int,
  read_ahead: int,
  rotational: bool,
  disk_sequence: int,
  read_only: bool,
  autoclear: bool,
  partscan: bool,
  direct_io: bool,
  partitions: []Partition
)

# owner: who made the container's user namespace; root_uid: root in it. user_namespace: its inode number.
type Instance (
  id: int,
  owner: int,
  root_uid: int,
  user_namespace: int,
  max: int,
  devices: []Device
)

type Limit (user_namespace: int, uid: int, used: int, limit: ?int)

# A new instance, as a detached mount, which comes with the reply. It lives as long as that mount. whole_dev: it is to be
# mounted on /dev, takes up to 256 directories, links and empty files besides its nodes, and has two devices at once. taken: numbers of devices
# that it is not to have.
method Mount(max: ?int, uid: ?int, gid: ?int, mode: ?int, whole_dev: ?bool, taken: ?[]int) -> (instance: int)

# The caller's instances; root of the machine sees all. instance: only this one.
method List(instance: ?int) -> (instances: []Instance)

# A file system of the kernel's on a device of the caller's instance, where the configuration lets the caller
# have it: a detached mount, idmapped to the instance's user namespace, comes with the reply. attributes:
# MOUNT_ATTR_*, of which nosuid and nodev are always there, and locked, as the access times are. mounted: false: by the
# configuration, its type, or since the kernel cannot, this is for a FUSE program to do.
method MountFilesystem(
  instance: int,
  device: int,
  partition: int,
  type: string,
  options: string,
  attributes: int,
  read_only: bool
) -> (mounted: bool)

# What was mounted so becomes read-only or writable, and gets other options. For all mounts of the device, as always.
method RemountFilesystem(
  instance: int,
  device: int,
  partition: int,
  type: string,
  options: string,
  read_only: bool
) -> ()

# BLKRRPART of a device of the caller's instance, which the kernel refuses to user namespaces. descriptor: of
# the device, in the process that connected.
method RereadPartitions(instance: int, device: int, descriptor: int) -> ()

# BLKPG. operation: 1 add, 2 delete, 3 resize; start and length in bytes.
method EditPartition(
  instance: int,
  device: int,
  operation: int,
  partition: int,
  start: int,
  length: int
) -> ()

# With "more": every change from now on. what: mount, unmount, add, bind, clear, remove.
method Events() -> (
  what: string,
  instance: int,
  device: ?int,
  kernel_device: ?string,
  microseconds: int,
  lost: int
)

# What is counted, in "devices" and "instances".
method Limits() -> (devices: []Limit, instances: []Limit)

# Root of the machine only. limit: none for the configured one.
method SetLimit(kind: string, uid: int, limit: ?int) -> ()

method Counts() -> (
  instances: int,
  devices: int,
  bound: int,
  lingering: int,
  mounts_total: int,
  binds_total: int,
  clears_total: int,
  refusals_total: int
)

error System (errno: int, message: string)
)";

constexpr std::chrono::milliseconds kEventPatience{500};

void fail_call(Call& call, const Error& error) {
  (void)call.error("io.loopfs.Manager.System", {{"errno", error.code}, {"message", error.what}});
}

// As the admission of the server has it.
const Tenant& caller_of(const Call& call) {
  return static_cast<const Tenant&>(*call.caller());
}

// An optional number of the parameters; what is none, or out of range, ends the call.
struct BadParameter {
  std::string name;
};

std::optional<uint64_t> number_of(const Call& call, const char* name, uint64_t most) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return std::nullopt;
  if (!found->is_number_unsigned() || found->get<uint64_t>() > most) throw BadParameter{name};
  return found->get<uint64_t>();
}

std::optional<uint32_t> small_number_of(const Call& call, const char* name, uint32_t most = UINT32_MAX - 1) {
  const auto number = number_of(call, name, most);
  if (!number) return std::nullopt;
  return static_cast<uint32_t>(*number);
}

bool truth_of(const Call& call, const char* name) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return false;
  if (!found->is_boolean()) throw BadParameter{name};
  return found->get<bool>();
}

std::set<uint32_t> numbers_of(const Call& call, const char* name, uint32_t most) {
  std::set<uint32_t> numbers;
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || found->is_null()) return numbers;
  if (!found->is_array()) throw BadParameter{name};
  for (const Json& number : *found) {
    if (!number.is_number_unsigned() || number.get<uint64_t>() > most) throw BadParameter{name};
    numbers.insert(number.get<uint32_t>());
  }
  return numbers;
}

void mount(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const MountOptions options{.max = small_number_of(call, "max"),
                             .uid = small_number_of(call, "uid"),
                             .gid = small_number_of(call, "gid"),
                             .mode = small_number_of(call, "mode", 0777),
                             .whole_dev = truth_of(call, "whole_dev"),
                             .taken = numbers_of(call, "taken", instance::kMostDevices - 1)};
  auto mounted = manager.mount(tenant, options);
  if (!mounted) return fail_call(call, mounted.error());
  const int fd = mounted->mount.get();
  (void)call.reply({{"instance", mounted->instance}}, std::span(&fd, 1));
}

Json to_json(const engine::DeviceState& state) {
  Json json = {{"number", state.number},
               {"device", state.device},
               {"size", state.size},
               {"offset", state.offset},
               {"sizelimit", state.sizelimit},
               {"logical_block_size", state.logical_block_size},
               {"physical_block_size", state.physical_block_size},
               {"io_minimum", state.io_minimum},
               {"io_optimal", state.io_optimal},
               {"discard_granularity", state.discard_granularity},
               {"read_ahead", state.read_ahead},
               {"rotational", state.rotational},
               {"disk_sequence", state.disk_sequence},
               {"read_only", state.read_only},
               {"autoclear", state.autoclear},
               {"partscan", state.partscan},
               {"direct_io", state.direct_io},
               {"partitions", Json::array()}};
  if (state.bound) {
    json["kernel_device"] = fmt::format("loop{}", minor(state.device));
    json["backing_file"] = base::to_utf8(state.backing_file);
  }
  for (const auto& partition : state.partitions) {
    json["partitions"].push_back({{"number", partition.number},
                                  {"device", partition.device},
                                  {"start", partition.start},
                                  {"size", partition.size},
                                  {"uuid", base::to_utf8(partition.uuid)},
                                  {"label", base::to_utf8(partition.label)},
                                  {"read_only", partition.read_only}});
  }
  return json;
}

Json to_json(Instance& instance) {
  Json devices = Json::array();
  for (const auto& state : instance.engine->snapshot()) devices.push_back(to_json(state));
  return {{"id", instance.record.id},
          {"owner", instance.lineage.owner},
          {"root_uid", instance.record.root_uid},
          {"user_namespace", instance.lineage.chain.front().user_namespace.inode},
          {"max", instance.record.max.value_or(instance::kMostDevices)},
          {"devices", std::move(devices)}};
}

// With "more", an instance a reply: all of them may be more than one message can have.
void list(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const auto wanted = number_of(call, "instance", UINT64_MAX);
  Json all = Json::array();
  for (const auto& instance : manager.instances(tenant)) {
    if (wanted && instance->record.id != *wanted) continue;
    Json json = to_json(*instance);
    if (call.wants_more()) {
      if (!call.reply_continues({{"instances", Json::array({std::move(json)})}})) return;
    } else {
      all.push_back(std::move(json));
    }
  }
  if (!call.reply({{"instances", std::move(all)}}))
    fail_call(call, {EMSGSIZE, "list the instances: ask with \"more\""});
}

void events(Manager& manager, Call& call) {
  if (!call.wants_more()) {
    (void)call.expected_more();
    return;
  }
  const Tenant& tenant = caller_of(call);
  std::map<uint64_t, bool> seen;  // instances that the tenant may see, also after their end
  const auto reader = manager.events().follow();
  while (!call.peer_gone()) {
    const auto event = reader->next(kEventPatience);
    if (!event) continue;
    if (!seen.contains(event->instance)) {
      seen[event->instance] = tenant.rules_machine();
      for (const auto& instance : manager.instances(tenant)) seen[instance->record.id] = true;
    }
    if (!seen[event->instance]) continue;
    Json json = {{"what", event->what},
                 {"instance", event->instance},
                 {"microseconds", event->microseconds},
                 {"lost", event->lost}};
    if (event->device) json["device"] = *event->device;
    if (event->kernel_device != 0) json["kernel_device"] = fmt::format("loop{}", event->kernel_device);
    if (!call.reply_continues(std::move(json))) return;
  }
}

std::string text_of(const Call& call, const char* name) {
  const auto found = call.parameters().find(name);
  if (found == call.parameters().end() || !found->is_string()) throw BadParameter{name};
  return found->get<std::string>();
}

uint64_t wanted_number_of(const Call& call, const char* name, uint64_t most) {
  const auto number = number_of(call, name, most);
  if (!number) throw BadParameter{name};
  return *number;
}

// The instance that the call is about, if the caller is root where it belongs.
std::shared_ptr<Instance> own_instance(Manager& manager, Call& call, const Tenant& tenant) {
  const uint64_t id = wanted_number_of(call, "instance", UINT64_MAX);
  for (auto& instance : manager.instances(tenant)) {
    if (instance->record.id == id) return std::move(instance);
  }
  fail_call(call, {ENOENT, fmt::format("instance {}", id)});
  return nullptr;
}

FilesystemRequest filesystem_of(Call& call) {
  FilesystemRequest request{
      .device = static_cast<uint32_t>(wanted_number_of(call, "device", UINT32_MAX)),
      .partition = static_cast<uint32_t>(wanted_number_of(call, "partition", UINT32_MAX)),
      .type = text_of(call, "type"),
      .options = text_of(call, "options")};
  if (const auto flag = call.parameters().find("read_only"); flag != call.parameters().end()) {
    if (!flag->is_boolean()) throw BadParameter{"read_only"};
    request.read_only = flag->get<bool>();
  }
  request.hangup = call.socket_fd();
  return request;
}

policy::Rules rules_of(Manager& manager, const Instance& instance) {
  return manager.config().rules_for(instance.lineage.owner, groups_of(instance.lineage.owner));
}

void mount_filesystem(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  FilesystemRequest request = filesystem_of(call);
  request.attributes = wanted_number_of(call, "attributes", UINT32_MAX);
  const auto instance = own_instance(manager, call, tenant);
  if (!instance) return;
  auto mounted = mount_filesystem(*instance, rules_of(manager, *instance), request);
  if (!mounted) return fail_call(call, mounted.error());
  if (!*mounted) {
    (void)call.reply({{"mounted", false}});
    return;
  }
  const int fd = (*mounted)->mount.get();
  (void)call.reply({{"mounted", true}}, std::span(&fd, 1));
}

void answer(Call& call, const Result<void>& result) {
  if (!result) return fail_call(call, result.error());
  (void)call.reply();
}

void remount_filesystem(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const FilesystemRequest request = filesystem_of(call);
  const auto instance = own_instance(manager, call, tenant);
  if (!instance) return;
  answer(call, remount_filesystem(*instance, rules_of(manager, *instance), request));
}

void reread_partitions(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const auto device = static_cast<uint32_t>(wanted_number_of(call, "device", UINT32_MAX));
  const auto number = static_cast<int>(wanted_number_of(call, "descriptor", INT32_MAX));
  const auto instance = own_instance(manager, call, tenant);
  if (!instance) return;
  // The process may be another program by now; what is done with its descriptor is what its own user may have done.
  const auto pid = sys::pid_of_pidfd(call.peer().pidfd.get());
  if (!pid) return fail_call(call, pid.error());
  answer(call, instance->engine->reread_partitions(device, *pid, number, call.socket_fd()));
}

void edit_partition(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const auto device = static_cast<uint32_t>(wanted_number_of(call, "device", UINT32_MAX));
  const sys::PartitionEdit edit{.operation = static_cast<int>(wanted_number_of(call, "operation", 3)),
                                .number = static_cast<int>(wanted_number_of(call, "partition", INT32_MAX)),
                                .start = static_cast<int64_t>(wanted_number_of(call, "start", INT64_MAX)),
                                .length = static_cast<int64_t>(wanted_number_of(call, "length", INT64_MAX))};
  if (const auto instance = own_instance(manager, call, tenant)) {
    answer(call, instance->engine->edit_partition(device, edit));
  }
}

Json to_json(const std::vector<policy::Usage>& usages, const Tenant& tenant) {
  const bool all = tenant.rules_machine();
  Json json = Json::array();
  for (const auto& usage : usages) {
    if (!all && !(usage.level == policy::Level{tenant.id, tenant.uid})) continue;
    Json entry = {
        {"user_namespace", usage.level.user_namespace.inode}, {"uid", usage.level.uid}, {"used", usage.used}};
    if (usage.limit != policy::kUnlimited) entry["limit"] = usage.limit;
    json.push_back(std::move(entry));
  }
  return json;
}

void limits(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  (void)call.reply({{"devices", to_json(manager.device_limits().list(), tenant)},
                    {"instances", to_json(manager.instance_limits().list(), tenant)}});
}

void set_limit(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  if (!tenant.rules_machine()) return fail_call(call, {EPERM, "set a limit: only root may"});
  const auto kind = call.parameters().find("kind");
  if (kind == call.parameters().end() || (*kind != "devices" && *kind != "instances"))
    throw BadParameter{"kind"};
  const auto uid = small_number_of(call, "uid");
  if (!uid) throw BadParameter{"uid"};
  const auto limit = number_of(call, "limit", UINT32_MAX);
  policy::Limits& which = *kind == "devices" ? manager.device_limits() : manager.instance_limits();
  const policy::Level level{tenant.id, *uid};
  limit ? which.set_limit(level, *limit) : which.clear_limit(level);
  (void)call.reply();
}

void counts(Manager& manager, Call& call) {
  const Counts counts = manager.counts();
  (void)call.reply({{"instances", counts.instances},
                    {"devices", counts.devices},
                    {"bound", counts.bound},
                    {"lingering", counts.lingering},
                    {"mounts_total", counts.mounts_total},
                    {"binds_total", counts.binds_total},
                    {"clears_total", counts.clears_total},
                    {"refusals_total", counts.refusals_total}});
}

varlink::Handler handler(Manager* manager, void (*method)(Manager&, Call&)) {
  return [manager, method](Call& call) {
    try {
      method(*manager, call);
    } catch (const BadParameter& parameter) {
      (void)call.invalid_parameter(parameter.name);
    }
  };
}

}  // namespace

varlink::Interface manager_interface(Manager* manager) {
  return {.name = "io.loopfs.Manager",
          .description = kDescription,
          .methods = {{"Mount", handler(manager, mount)},
                      {"List", handler(manager, list)},
                      {"MountFilesystem", handler(manager, mount_filesystem)},
                      {"RemountFilesystem", handler(manager, remount_filesystem)},
                      {"RereadPartitions", handler(manager, reread_partitions)},
                      {"EditPartition", handler(manager, edit_partition)},
                      {"Events", handler(manager, events)},
                      {"Limits", handler(manager, limits)},
                      {"SetLimit", handler(manager, set_limit)},
                      {"Counts", handler(manager, counts)}}};
}

}  // namespace loopfs::daemon
