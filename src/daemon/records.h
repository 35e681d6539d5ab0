// What one server process writes for the next, as text.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/node_owner.h"
#include "fusefs/entries.h"
#include "kernel/journal.h"
#include "sys/procfs.h"

namespace loopfs::daemon {

// What makes an instance, and what a new server process needs to go on with it.
struct InstanceRecord {
  uint64_t id = 0;
  std::optional<uint32_t> max;
  bool whole_dev = false;
  std::set<uint32_t> taken;
  uid_t uid = 0;  // of the nodes
  gid_t gid = 0;
  mode_t mode = 0600;
  uid_t root_uid = 0;  // root of the user namespace that it belongs to, in the first one's numbers
  gid_t root_gid = 0;
  dev_t device = 0;                   // st_dev of everything in it
  sys::NamespaceId pid_namespace;     // of who made it
  std::vector<std::byte> begun_with;  // FUSE_INIT; empty until it came

  std::string encode() const;
  static Result<InstanceRecord> decode(const std::string& text);
};

// Errors of all: EINVAL it is another version's, or no record.
std::string encode_device(const kernel::DeviceRecord& record);
Result<kernel::DeviceRecord> decode_device(const std::string& text);
std::string encode_entry(const fusefs::Entry& entry);
Result<fusefs::Entry> decode_entry(const std::string& text);
std::string encode_owner(const engine::NodeOwner& owner);
Result<engine::NodeOwner> decode_owner(const std::string& text);

}  // namespace loopfs::daemon
