#include "view/tree.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <sstream>
#include <string_view>

#include "engine/device_numbers.h"
#include "instance/node.h"
#include "view/device_entries.h"
#include "view/layout.h"

namespace loopfs::view {

namespace {

enum class Section { kRoot, kBlock, kClassBlock, kDevBlock, kVirtualBlock, kPartitions, kUdevData, kNone };

Section section_of(std::string_view name) {
  if (name.empty()) return Section::kRoot;
  if (name == "block") return Section::kBlock;
  if (name == "class_block") return Section::kClassBlock;
  if (name == "dev_block") return Section::kDevBlock;
  if (name == "virtual_block") return Section::kVirtualBlock;
  if (name == "partitions") return Section::kPartitions;
  if (name == "udev_data") return Section::kUdevData;
  return Section::kNone;
}

// Of any loop device or partition, the host's and those of other instances too, whose numbers may be higher than
// an instance's can be.
bool is_loop_name(std::string_view name) {
  constexpr std::string_view kPrefix = "loop";
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() && name[kPrefix.size()] >= '0' &&
         name[kPrefix.size()] <= '9';
}

// "../../devices/virtual/block/loop0/loop0p1" leads to a loop device of the host.
bool leads_to_loop(std::string_view target) {
  return is_loop_name(target.substr(target.rfind('/') + 1));
}

std::string device_key(dev_t device) {
  return fmt::format("{}:{}", major(device), minor(device));
}

// "M:m".
std::optional<dev_t> device_of_key(const std::string& key) {
  unsigned major_number = 0, minor_number = 0;
  if (std::sscanf(key.c_str(), "%9u:%9u", &major_number, &minor_number) != 2) return std::nullopt;
  const dev_t device = makedev(major_number, minor_number);
  return device_key(device) == key ? std::optional(device) : std::nullopt;
}

// The node of the instance that "M:m" stands for.
std::optional<engine::NodeId> node_of_key(engine::Engine& engine, const std::string& key) {
  const auto device = device_of_key(key);
  return device ? engine.node_of_device(*device) : std::nullopt;
}

bool has(const std::optional<engine::DeviceState>& device, const engine::NodeId& node) {
  if (!device) return false;
  if (node.kind == engine::NodeId::Kind::kDevice) return true;
  return node.kind == engine::NodeId::Kind::kPartition &&
         std::ranges::any_of(device->partitions, [&](const auto& p) { return p.number == node.partition; });
}

// Where its directory is, from the root of sysfs.
std::string home_of(const engine::NodeId& node) {
  std::string home = "devices/virtual/block/" + engine::NodeId::of_device(node.device).name();
  if (node.kind == engine::NodeId::Kind::kPartition) home += "/" + node.name();
  return home;
}

}  // namespace

// Where a path leads: the part, what is below it, and the host's directory behind the part.
struct Tree::Place {
  Section section = Section::kNone;
  std::string below;               // "" is the part itself
  const HostTree* host = nullptr;  // none: the root, partitions, unknown names
  std::string first;               // of `below`
  bool hidden(
      const std::string& name) const {  // an entry of the part that the host has and the view does not
    switch (section) {
      case Section::kDevBlock: {
        const auto entry = host->find(name);
        return entry && leads_to_loop(entry->text);
      }
      case Section::kUdevData:
        return name.starts_with("b7:");
      default:
        return is_loop_name(name);
    }
  }
};

Tree::Tree(const Options& options)
    : engine_(options.engine),
      block_(options.sysfs + "/block"),
      class_block_(options.sysfs + "/class/block"),
      dev_block_(options.sysfs + "/dev/block"),
      virtual_block_(options.sysfs + "/devices/virtual/block"),
      udev_data_(options.udev_data),
      procfs_(options.procfs) {}

Tree::Place Tree::locate(const std::string& path) const {
  Place place;
  const size_t slash = path.find('/');
  place.section = section_of(std::string_view(path).substr(0, slash));
  if (slash != std::string::npos) place.below = path.substr(slash + 1);
  place.first = place.below.substr(0, place.below.find('/'));
  switch (place.section) {
    case Section::kBlock:
      place.host = &block_;
      break;
    case Section::kClassBlock:
      place.host = &class_block_;
      break;
    case Section::kDevBlock:
      place.host = &dev_block_;
      break;
    case Section::kVirtualBlock:
      place.host = &virtual_block_;
      break;
    case Section::kUdevData:
      place.host = &udev_data_;
      break;
    default:
      break;
  }
  return place;
}

// Whether the name is one that the instance decides about, whatever the host has there.
bool Tree::is_own(const Place& place) const {
  switch (place.section) {
    case Section::kBlock:
    case Section::kClassBlock:
    case Section::kVirtualBlock:
      return is_loop_name(place.first);
    case Section::kDevBlock: {
      constexpr unsigned kLoopMajor = 7;
      const auto device = device_of_key(place.first);
      if (device && major(*device) == kLoopMajor) return true;
      const auto node = node_of_key(*engine_, place.first);
      return node && has(engine_->state(node->device), *node);
    }
    default:
      return false;
  }
}

// An entry for which is_own() holds. One device at a time: this is what every path walk asks for.
Result<Entry> Tree::find_own(const Place& place) const {
  const auto node = place.section == Section::kDevBlock ? node_of_key(*engine_, place.first)
                                                        : instance::parse_node_name(place.first);
  const auto device = node ? engine_->state(node->device) : std::nullopt;
  if (!node || !has(device, *node)) return fail(ENOENT, "'{}'", place.below);
  const bool partition = node->kind == engine::NodeId::Kind::kPartition;
  if (place.section == Section::kVirtualBlock) {
    if (partition) return fail(ENOENT, "'{}'", place.below);
    if (place.below == place.first) return Entry::directory();
    const Entries entries = device_entries(*device);
    const auto found = entries.find(place.below.substr(place.first.size() + 1));
    if (found == entries.end()) return fail(ENOENT, "'{}'", place.below);
    return found->second;
  }
  if (place.below != place.first || (partition && place.section == Section::kBlock))
    return fail(ENOENT, "'{}'", place.below);
  return Entry::link((place.section == Section::kBlock ? "../" : "../../") + home_of(*node));
}

// The instance's own names in a part.
std::vector<Listed> Tree::list_own(const Place& place) const {
  std::vector<Listed> listed;
  if (place.section == Section::kUdevData) return listed;
  const bool keys = place.section == Section::kDevBlock;
  const auto kind = place.section == Section::kVirtualBlock ? Entry::Kind::kDirectory : Entry::Kind::kLink;
  for (const auto& device : engine_->snapshot()) {
    listed.push_back(
        {keys ? device_key(device.device) : engine::NodeId::of_device(device.number).name(), kind});
    if (!keys && place.section != Section::kClassBlock) continue;
    for (const auto& partition : device.partitions) {
      const auto node = engine::NodeId::of_partition(device.number, partition.number);
      listed.push_back({keys ? device_key(partition.device) : node.name(), kind});
    }
  }
  return listed;
}

// A directory below virtual_block/loopN.
Result<std::vector<Listed>> Tree::list_device(const Place& place) const {
  const auto node = instance::parse_node_name(place.first);
  const auto device = node ? engine_->state(node->device) : std::nullopt;
  if (!device || node->kind != engine::NodeId::Kind::kDevice) return fail(ENOENT, "'{}'", place.below);
  const Entries entries = device_entries(*device);
  std::string prefix;
  if (place.below != place.first) {
    prefix = place.below.substr(place.first.size() + 1);
    const auto directory = entries.find(prefix);
    if (directory == entries.end()) return fail(ENOENT, "'{}'", place.below);
    if (directory->second.kind != Entry::Kind::kDirectory) return fail(ENOTDIR, "'{}'", place.below);
    prefix += '/';
  }
  std::vector<Listed> listed;
  for (auto entry = entries.lower_bound(prefix); entry != entries.end() && entry->first.starts_with(prefix);
       ++entry) {
    const std::string name = entry->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) listed.push_back({name, entry->second.kind});
  }
  return listed;
}

Result<Entry> Tree::find(const std::string& path) const {
  const Place place = locate(path);
  if (place.section == Section::kRoot) return Entry::directory();
  if (place.section == Section::kPartitions && place.below.empty()) return Entry::file(partitions());
  if (!place.host) return fail(ENOENT, "'{}'", path);
  if (place.below.empty()) return Entry::directory();
  if (is_own(place)) return find_own(place);
  if (place.hidden(place.first)) return fail(ENOENT, "'{}'", path);
  return place.host->find(place.below);
}

Result<std::vector<Listed>> Tree::list(const std::string& path) const {
  const Place place = locate(path);
  if (place.section == Section::kRoot) {
    std::vector<Listed> parts;
    for (const auto& part : kParts) {
      parts.push_back({part.name, part.directory ? Entry::Kind::kDirectory : Entry::Kind::kFile});
    }
    return parts;
  }
  if (!place.host) return fail(place.section == Section::kPartitions ? ENOTDIR : ENOENT, "'{}'", path);
  if (!place.below.empty()) {
    if (place.section == Section::kVirtualBlock && is_own(place)) return list_device(place);
    if (is_own(place) || place.hidden(place.first)) return fail(ENOENT, "'{}'", path);
    return place.host->list(place.below);
  }
  auto listed = list_own(place);
  std::set<std::string> own;
  for (const auto& entry : listed) own.insert(entry.name);
  for (auto& entry :
       place.host->list("").value_or(std::vector<Listed>())) {  // none: the host has no such part
    if (!own.contains(entry.name) && !place.hidden(entry.name)) listed.push_back(std::move(entry));
  }
  return listed;
}

Result<std::string> Tree::read(const std::string& path) const {
  auto entry = find(path);
  if (!entry) return propagate(entry);
  if (entry->kind != Entry::Kind::kFile) return fail(EISDIR, "read '{}'", path);
  const Place place = locate(path);
  if (!place.host || is_own(place)) return entry->text;
  return place.host->read(place.below);
}

std::string Tree::partitions() const {
  std::string text;
  std::istringstream host(procfs_.read("partitions").value_or("major minor  #blocks  name\n\n"));
  for (std::string line; std::getline(host, line);) {
    if (!is_loop_name(std::string_view(line).substr(line.rfind(' ') + 1))) text += line + "\n";
  }
  for (const auto& device : engine_->snapshot()) text += partition_lines(device);
  return text;
}

}  // namespace loopfs::view
