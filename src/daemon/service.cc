#include "daemon/service.h"

#include <grp.h>
#include <pwd.h>
#include <sys/sysmacros.h>

#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "daemon/device_methods.h"
#include "daemon/filesystem.h"
#include "daemon/interface.h"
#include "daemon/parameters.h"
#include "varlink/call.h"

namespace loopfs::daemon {
namespace {

using varlink::Call;
using varlink::Json;

constexpr std::chrono::milliseconds kEventPatience{500};

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
               {"statistics", state.statistics},
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
                                  {"read_only", partition.read_only},
                                  {"statistics", partition.statistics}});
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

void remount_filesystem(Manager& manager, Call& call) {
  const Tenant& tenant = caller_of(call);
  const FilesystemRequest request = filesystem_of(call);
  const auto instance = own_instance(manager, call, tenant);
  if (!instance) return;
  answer(call, remount_filesystem(*instance, rules_of(manager, *instance), request));
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
                      {"Ioctl", handler(manager, device_ioctl)},
                      {"EditPartition", handler(manager, edit_partition)},
                      {"Events", handler(manager, events)},
                      {"Limits", handler(manager, limits)},
                      {"SetLimit", handler(manager, set_limit)},
                      {"Counts", handler(manager, counts)}}};
}

}  // namespace loopfs::daemon
