#include "daemon/records.h"

#include <nlohmann/json.hpp>

#include "varlink/json.h"

namespace loopfs::daemon {
namespace {

using varlink::Json;

Json owner_to_json(const engine::NodeOwner& owner) {
  return Json::array({owner.mode, owner.uid, owner.gid, owner.changed.tv_sec, owner.changed.tv_nsec});
}

engine::NodeOwner owner_from_json(const Json& json) {
  return {.mode = json.at(0).get<mode_t>(),
          .uid = json.at(1).get<uid_t>(),
          .gid = json.at(2).get<gid_t>(),
          .changed = {json.at(3).get<time_t>(), json.at(4).get<long>()}};
}

// A path is any bytes; JSON is not.
std::string to_hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// The records are our own: one that cannot be read is a fault of ours, or of another version's.
template <typename T, typename F>
Result<T> decode_json(const std::string& text, F&& read) {
  try {
    return read(Json::parse(text));
  } catch (const std::exception& error) {
    return fail(EINVAL, "read a record of the keeper ({})", error.what());
  }
}

}  // namespace

std::string InstanceRecord::encode() const {
  Json json = {{"id", id},
               {"uid", uid},
               {"gid", gid},
               {"mode", mode},
               {"root_uid", root_uid},
               {"root_gid", root_gid},
               {"device", device},
               {"pid_namespace", Json::array({pid_namespace.device, pid_namespace.inode})},
               {"begun_with",
                to_hex(std::string(reinterpret_cast<const char*>(begun_with.data()), begun_with.size()))}};
  if (max) json["max"] = *max;
  if (whole_dev) json["whole_dev"] = true;
  if (!taken.empty()) json["taken"] = taken;
  return json.dump();
}

Result<InstanceRecord> InstanceRecord::decode(const std::string& text) {
  return decode_json<InstanceRecord>(text, [](const Json& json) {
    InstanceRecord record{.id = json.at("id").get<uint64_t>(),
                          .uid = json.at("uid").get<uid_t>(),
                          .gid = json.at("gid").get<gid_t>(),
                          .mode = json.at("mode").get<mode_t>(),
                          .root_uid = json.at("root_uid").get<uid_t>(),
                          .root_gid = json.at("root_gid").get<gid_t>(),
                          .device = json.at("device").get<dev_t>()};
    if (json.contains("pid_namespace")) {
      const Json& id = json.at("pid_namespace");
      record.pid_namespace = {id.at(0).get<dev_t>(), id.at(1).get<ino_t>()};
    }
    if (json.contains("max")) record.max = json.at("max").get<uint32_t>();
    record.whole_dev = json.value("whole_dev", false);
    if (json.contains("taken")) record.taken = json.at("taken").get<std::set<uint32_t>>();
    for (const char byte : from_hex(json.at("begun_with").get<std::string>())) {
      record.begun_with.push_back(static_cast<std::byte>(byte));
    }
    return record;
  });
}

std::string encode_device(const kernel::DeviceRecord& record) {
  Json json = {{"number", record.number}, {"owners", Json::array()}};
  for (const auto& [partition, owner] : record.owners) {
    json["owners"].push_back({partition, owner_to_json(owner)});
  }
  if (record.binding) {
    const kernel::BindingRecord& binding = *record.binding;
    json["binding"] = {{"kernel_device", binding.kernel_device},
                       {"sequence", binding.sequence},
                       {"backing_path", to_hex(binding.backing_path)},
                       {"backing_device", binding.backing_device},
                       {"backing_inode", binding.backing_inode}};
  }
  return json.dump();
}

Result<kernel::DeviceRecord> decode_device(const std::string& text) {
  return decode_json<kernel::DeviceRecord>(text, [](const Json& json) {
    kernel::DeviceRecord record{.number = json.at("number").get<uint32_t>()};
    for (const Json& entry : json.at("owners")) {
      record.owners[entry.at(0).get<uint32_t>()] = owner_from_json(entry.at(1));
    }
    if (json.contains("binding")) {
      const Json& binding = json.at("binding");
      record.binding =
          kernel::BindingRecord{.kernel_device = binding.at("kernel_device").get<uint32_t>(),
                                .sequence = binding.at("sequence").get<uint64_t>(),
                                .backing_path = from_hex(binding.at("backing_path").get<std::string>()),
                                .backing_device = binding.at("backing_device").get<uint64_t>(),
                                .backing_inode = binding.at("backing_inode").get<uint64_t>()};
    }
    return record;
  });
}

std::string encode_entry(const fusefs::Entry& entry) {
  const Json owner =
      owner_to_json({.mode = entry.mode, .uid = entry.uid, .gid = entry.gid, .changed = entry.changed});
  return Json{{"number", entry.number},
              {"parent", entry.parent},
              {"name", to_hex(entry.name)},
              {"target", to_hex(entry.target)},
              {"owner", owner},
              {"modified", {entry.modified.tv_sec, entry.modified.tv_nsec}}}
      .dump();
}

Result<fusefs::Entry> decode_entry(const std::string& text) {
  return decode_json<fusefs::Entry>(text, [](const Json& json) {
    const engine::NodeOwner owner = owner_from_json(json.at("owner"));
    return fusefs::Entry{
        .number = json.at("number").get<uint64_t>(),
        .parent = json.at("parent").get<uint64_t>(),
        .name = from_hex(json.at("name").get<std::string>()),
        .mode = owner.mode,
        .uid = owner.uid,
        .gid = owner.gid,
        .target = from_hex(json.at("target").get<std::string>()),
        .modified = {json.at("modified").at(0).get<time_t>(), json.at("modified").at(1).get<long>()},
        .changed = owner.changed};
  });
}

std::string encode_owner(const engine::NodeOwner& owner) {
  return owner_to_json(owner).dump();
}

Result<engine::NodeOwner> decode_owner(const std::string& text) {
  return decode_json<engine::NodeOwner>(text, owner_from_json);
}

}  // namespace loopfs::daemon
