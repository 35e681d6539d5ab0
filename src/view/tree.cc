#include "view/tree.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string_view>

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

bool is_loop_name(std::string_view name) {
  return instance::parse_node_name(name).has_value();
}

// "../../devices/virtual/block/loop0/loop0p1" leads to a loop device of the host.
bool leads_to_loop(std::string_view target) {
  return is_loop_name(target.substr(target.rfind('/') + 1));
}

std::string device_key(dev_t device) {
  return fmt::format("{}:{}", major(device), minor(device));
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

// The instance's own entries of a part, by their path below it.
Entries Tree::own_entries(const Place& place) const {
  Entries entries;
  if (place.section == Section::kRoot || place.section == Section::kUdevData ||
      place.section == Section::kNone)
    return entries;
  for (const auto& device : engine_->snapshot()) {
    const std::string name = fmt::format("loop{}", device.number);
    const std::string home = "devices/virtual/block/" + name;
    switch (place.section) {
      case Section::kBlock:
        entries[name] = Entry::link("../" + home);
        break;
      case Section::kClassBlock:
        entries[name] = Entry::link("../../" + home);
        break;
      case Section::kDevBlock:
        entries[device_key(device.device)] = Entry::link("../../" + home);
        break;
      case Section::kVirtualBlock:
        entries[name] = Entry::directory();
        if (place.first != name) continue;
        for (auto& [path, entry] : device_entries(device)) entries[name + "/" + path] = std::move(entry);
        continue;
      default:
        continue;
    }
    for (const auto& partition : device.partitions) {
      const std::string own = fmt::format("{}p{}", name, partition.number);
      const std::string target = fmt::format("../../{}/{}", home, own);
      if (place.section == Section::kClassBlock) entries[own] = Entry::link(target);
      if (place.section == Section::kDevBlock) entries[device_key(partition.device)] = Entry::link(target);
    }
  }
  return entries;
}

Result<Entry> Tree::find(const std::string& path) const {
  const Place place = locate(path);
  if (place.section == Section::kRoot) return Entry::directory();
  if (place.section == Section::kPartitions && place.below.empty()) return Entry::file(partitions());
  if (!place.host) return fail(ENOENT, "'{}'", path);
  if (place.below.empty()) return Entry::directory();
  const Entries own = own_entries(place);
  if (const auto found = own.find(place.below); found != own.end()) return found->second;
  if (own.contains(place.first) || place.hidden(place.first)) return fail(ENOENT, "'{}'", path);
  return place.host->find(place.below);
}

Result<std::vector<std::string>> Tree::list(const std::string& path) const {
  std::vector<std::string> names;
  const Place place = locate(path);
  if (place.section == Section::kRoot) {
    for (const auto& part : kParts) names.emplace_back(part.name);
    return names;
  }
  const std::string prefix = place.below.empty() ? "" : place.below + "/";
  const Entries own = own_entries(place);
  for (auto entry = own.lower_bound(prefix); entry != own.end() && entry->first.starts_with(prefix);
       ++entry) {
    const std::string name = entry->first.substr(prefix.size());
    if (name.find('/') == std::string::npos) names.push_back(name);
  }
  if (!place.host || own.contains(place.first)) return names;
  auto theirs = place.host->list(place.below);
  if (!theirs && place.below.empty()) return names;  // the host has no such directory
  if (!theirs) return propagate(theirs);
  for (auto& name : *theirs) {
    if (place.below.empty() && (own.contains(name) || place.hidden(name))) continue;
    names.push_back(std::move(name));
  }
  return names;
}

Result<std::string> Tree::read(const std::string& path) const {
  auto entry = find(path);
  if (!entry) return propagate(entry);
  if (entry->kind != Entry::Kind::kFile) return fail(EISDIR, "read '{}'", path);
  const Place place = locate(path);
  if (!place.host || own_entries(place).contains(place.below)) return entry->text;
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
