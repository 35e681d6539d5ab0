#include "client/manager_client.h"

#include <sys/sysmacros.h>

#include <nlohmann/json.hpp>

#include "sys/loop_names.h"

namespace loopfs::client {
namespace {

using varlink::Json;

constexpr int kTries = 3;

// The daemon is trusted, its version is not: what is missing has the default.
template <typename T>
T value(const Json& json, const char* key, T otherwise) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return otherwise;
  return found->get<T>();
}

engine::PartitionState partition_from(const Json& json) {
  return {.number = value<uint32_t>(json, "number", 0),
          .device = value<dev_t>(json, "device", 0),
          .start = value<uint64_t>(json, "start", 0),
          .size = value<uint64_t>(json, "size", 0),
          .uuid = value<std::string>(json, "uuid", ""),
          .label = value<std::string>(json, "label", ""),
          .read_only = value<bool>(json, "read_only", false),
          .statistics = value<sys::IoStatistics>(json, "statistics", {})};
}

engine::DeviceState device_from(const Json& json) {
  engine::DeviceState state{.number = value<uint32_t>(json, "number", 0),
                            .device = value<dev_t>(json, "device", 0),
                            .bound = json.contains("kernel_device"),
                            .read_only = value<bool>(json, "read_only", false),
                            .autoclear = value<bool>(json, "autoclear", false),
                            .partscan = value<bool>(json, "partscan", false),
                            .direct_io = value<bool>(json, "direct_io", false),
                            .size = value<uint64_t>(json, "size", 0),
                            .offset = value<uint64_t>(json, "offset", 0),
                            .sizelimit = value<uint64_t>(json, "sizelimit", 0),
                            .logical_block_size = value<uint32_t>(json, "logical_block_size", 512),
                            .physical_block_size = value<uint32_t>(json, "physical_block_size", 512),
                            .io_minimum = value<uint32_t>(json, "io_minimum", 512),
                            .io_optimal = value<uint32_t>(json, "io_optimal", 0),
                            .discard_granularity = value<uint32_t>(json, "discard_granularity", 0),
                            .rotational = value<bool>(json, "rotational", false),
                            .read_ahead = value<uint64_t>(json, "read_ahead", 128 << 10),
                            .disk_sequence = value<uint64_t>(json, "disk_sequence", 0),
                            .statistics = value<sys::IoStatistics>(json, "statistics", {}),
                            .backing_file = value<std::string>(json, "backing_file", "")};
  for (const Json& partition : value<Json>(json, "partitions", Json::array())) {
    state.partitions.push_back(partition_from(partition));
  }
  return state;
}

// Exceptions of the JSON library end here.
template <typename F>
auto reading(F&& read) -> Result<decltype(read())> {
  try {
    return read();
  } catch (const std::exception& error) {
    return fail(EPROTO, "read loopfsd's answer ({})", error.what());
  }
}

}  // namespace

Result<varlink::Reply> ManagerClient::call(const char* method, const Json& parameters, bool again) {
  const std::string name = std::string("io.loopfs.Manager.") + method;
  const std::lock_guard lock(mutex_);
  for (int tries = 0;; ++tries) {
    const bool fresh = !client_;
    if (fresh) {
      auto connected = varlink::Client::connect(socket_);
      if (!connected) return propagate(connected, "ask loopfsd (is it running?)");
      client_.emplace(std::move(*connected));
    }
    auto reply = client_->call(name, parameters);
    if (reply) return reply;
    const int code = reply.error().code;
    const bool gone = code == EPIPE || code == ECONNRESET;
    if (gone) client_.reset();
    // Nothing of it was done if the connection was the one to a daemon that had been replaced before.
    if (!gone || tries >= kTries || (fresh && !again)) return reply;
  }
}

void ManagerClient::wait_until_let_go() {
  const std::lock_guard lock(mutex_);
  if (client_) (void)client_->call("org.varlink.service.GetInfo");
}

Result<InstanceMount> ManagerClient::mount(const MountOptions& options) {
  Json parameters = Json::object();
  if (options.max) parameters["max"] = *options.max;
  if (options.uid) parameters["uid"] = *options.uid;
  if (options.gid) parameters["gid"] = *options.gid;
  if (options.mode) parameters["mode"] = *options.mode;
  if (options.whole_dev) parameters["whole_dev"] = true;
  for (const uint32_t number : sys::loop_numbers_in_use()) {
    if (number < instance::kMostDevices) parameters["taken"].push_back(number);
  }
  auto reply = call("Mount", parameters);
  if (!reply) return propagate(reply);
  if (reply->fds.size() != 1) return fail(EPROTO, "loopfsd sent no mount");
  wait_until_let_go();
  return reading([&] {
    return InstanceMount{reply->parameters.at("instance").get<uint64_t>(), std::move(reply->fds.front())};
  });
}

Result<std::vector<engine::DeviceState>> ManagerClient::devices(uint64_t instance) {
  auto reply = call("List", {{"instance", instance}});
  if (!reply) return propagate(reply);
  auto devices = reading([&]() -> std::optional<std::vector<engine::DeviceState>> {
    const Json& instances = reply->parameters.at("instances");
    if (instances.empty()) return std::nullopt;
    std::vector<engine::DeviceState> states;
    for (const Json& device : instances.at(0).at("devices")) states.push_back(device_from(device));
    return states;
  });
  if (!devices) return propagate(devices);
  if (!*devices) return fail(ENOENT, "instance {}", instance);
  return std::move(**devices);
}

Result<std::optional<Fd>> ManagerClient::mount_filesystem(uint64_t instance, const FilesystemMount& wanted) {
  auto reply = call("MountFilesystem", {{"instance", instance},
                                        {"device", wanted.node.device},
                                        {"partition", wanted.node.partition},
                                        {"type", wanted.type},
                                        {"options", wanted.options},
                                        {"attributes", wanted.attributes},
                                        {"read_only", wanted.read_only}});
  if (!reply) return propagate(reply);
  if (reply->fds.empty()) return std::optional<Fd>();
  wait_until_let_go();
  return std::optional<Fd>(std::move(reply->fds.front()));
}

Result<void> ManagerClient::remount_filesystem(uint64_t instance, const FilesystemMount& wanted) {
  auto reply = call("RemountFilesystem", {{"instance", instance},
                                          {"device", wanted.node.device},
                                          {"partition", wanted.node.partition},
                                          {"type", wanted.type},
                                          {"options", wanted.options},
                                          {"read_only", wanted.read_only}});
  if (!reply) return propagate(reply);
  return {};
}

Result<void> ManagerClient::ioctl(uint64_t instance, uint32_t device, int fd, const DeviceIoctl& wanted) {
  auto reply = call("Ioctl", {{"instance", instance},
                              {"device", device},
                              {"descriptor", fd},
                              {"command", wanted.command},
                              {"value", wanted.value},
                              {"bytes", wanted.bytes}});
  if (!reply) return propagate(reply);
  return {};
}

Result<void> ManagerClient::edit_partition(uint64_t instance, uint32_t device,
                                           const sys::PartitionEdit& edit) {
  auto reply = call("EditPartition",
                    {{"instance", instance},
                     {"device", device},
                     {"operation", edit.operation},
                     {"partition", edit.number},
                     {"start", edit.start},
                     {"length", edit.length}},
                    false);
  if (!reply) return propagate(reply);
  return {};
}

}  // namespace loopfs::client
