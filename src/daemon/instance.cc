#include "daemon/instance.h"

#include <nlohmann/json.hpp>

namespace loopfs::daemon {

using varlink::Json;

std::string InstanceRecord::encode() const {
  Json json = {{"id", id},
               {"uid", uid},
               {"gid", gid},
               {"mode", mode},
               {"root_uid", root_uid},
               {"root_gid", root_gid},
               {"device", device},
               {"pid_namespace", Json::array({pid_namespace.device, pid_namespace.inode})},
               {"begun_with", Json::array()}};
  if (max) json["max"] = *max;
  for (const std::byte byte : begun_with) json["begun_with"].push_back(std::to_integer<unsigned>(byte));
  return json.dump();
}

Result<InstanceRecord> InstanceRecord::decode(const std::string& text) {
  try {
    const Json json = Json::parse(text);
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
    for (const Json& byte : json.at("begun_with")) {
      record.begun_with.push_back(static_cast<std::byte>(byte.get<unsigned>()));
    }
    return record;
  } catch (const std::exception& error) {
    return fail(EINVAL, "read an instance's record ({})", error.what());
  }
}

}  // namespace loopfs::daemon
