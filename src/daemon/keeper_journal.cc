#include "daemon/keeper_journal.h"

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
Result<T> decode(const std::string& text, F&& read) {
  try {
    return read(Json::parse(text));
  } catch (const std::exception& error) {
    return fail(EINVAL, "read a record of the keeper ({})", error.what());
  }
}

}  // namespace

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
  return decode<kernel::DeviceRecord>(text, [](const Json& json) {
    kernel::DeviceRecord record{.number = json.at("number").get<uint32_t>()};
    for (const Json& entry : json.at("owners")) {
      record.owners[entry.at(0).get<uint32_t>()] = owner_from_json(entry.at(1));
    }
    if (json.contains("binding")) {
      const Json& binding = json.at("binding");
      record.binding = kernel::BindingRecord{
          .kernel_device = binding.at("kernel_device").get<uint32_t>(),
          .sequence = binding.at("sequence").get<uint64_t>(),
          .backing_path = from_hex(binding.at("backing_path").get<std::string>()),
          .backing_device = binding.at("backing_device").get<uint64_t>(),
          .backing_inode = binding.at("backing_inode").get<uint64_t>()};
    }
    return record;
  });
}

std::string encode_owner(const engine::NodeOwner& owner) {
  return owner_to_json(owner).dump();
}

Result<engine::NodeOwner> decode_owner(const std::string& text) {
  return decode<engine::NodeOwner>(text, owner_from_json);
}

std::string KeeperJournal::name(const char* kind, uint64_t key) const {
  return fmt::format("{}/{}/{}", kind, instance_, key);
}

Result<void> KeeperJournal::put(const kernel::DeviceRecord& record) {
  return store_->put(name("device", record.number), encode_device(record), {});
}

void KeeperJournal::put_soon(const kernel::DeviceRecord& record) {
  (void)store_->put_soon(name("device", record.number), encode_device(record), {});
}

void KeeperJournal::drop(uint32_t number) {
  (void)store_->drop_soon(name("device", number));
}

void KeeperJournal::put_control(const engine::NodeOwner& owner) {
  (void)store_->put(fmt::format("control/{}", instance_), encode_owner(owner), {});
}

void KeeperJournal::note_open(uint64_t handle) {
  (void)store_->put_soon(name("open", handle), "", {});
}

void KeeperJournal::forget_open(uint64_t handle) {
  (void)store_->drop_soon(name("open", handle));
}

Result<void> KeeperJournal::put_open(uint64_t handle, int native) {
  return store_->put_soon(name("open", handle), "", std::span(&native, 1));
}

void KeeperJournal::drop_open(uint64_t handle) {
  (void)store_->drop_now(name("open", handle));
  note_open(handle);
}

void KeeperJournal::drop_all(const std::vector<uint32_t>& devices) {
  for (const uint32_t number : devices) drop(number);
  (void)store_->drop_soon(fmt::format("control/{}", instance_));
}

}  // namespace loopfs::daemon
