// What the Manager takes over from the server before it.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/number.h"
#include "daemon/manager.h"
#include "sys/loop_device.h"

namespace loopfs::daemon {
namespace {

constexpr std::chrono::seconds kPatience{3};  // for what porters of that server are still at

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t at; (at = name.find('/', start)) != std::string::npos; start = at + 1) {
    parts.push_back(name.substr(start, at - start));
  }
  parts.push_back(name.substr(start));
  return parts;
}

uint64_t to_number(const std::string& text) {
  return base::parse_number<uint64_t>(text).value_or(0);
}

}  // namespace

Result<void> Manager::restore(std::vector<keeper::Item> kept) {
  std::map<uint64_t, std::vector<keeper::Item*>> parts;
  std::vector<std::pair<InstanceRecord, keeper::Item*>> found;
  for (keeper::Item& item : kept) {
    const auto name = split(item.name);
    if (item.name == "epoch") epoch_ = to_number(item.payload);
    if (name.size() < 2) continue;
    if (name[0] == "instance") {
      auto record = InstanceRecord::decode(item.payload);
      if (!record) return propagate(record);
      found.emplace_back(std::move(*record), &item);
    } else {
      parts[to_number(name[1])].push_back(&item);
    }
  }
  if (auto put = options_.store->put("epoch", std::to_string(++epoch_), {}); !put) return put;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;  // for all of them
  for (const auto& [record, item] : found) {
    next_id_ = std::max(next_id_, record.id + 1);
    const uint64_t id = record.id;
    auto restored = restore_instance(record, std::move(item->fds), parts[id], deadline);
    if (!restored) spdlog::error("instance {}: {}", id, restored.error().message());
  }
  // Of an instance whose end was cut short. The kept descriptors would keep its devices.
  for (const auto& [id, items] : parts) {
    const bool lives =
        std::ranges::any_of(found, [id = id](const auto& entry) { return entry.first.id == id; });
    if (lives) continue;
    for (const keeper::Item* item : items) (void)options_.store->drop(item->name);
  }
  const auto orphans = find_orphans();
  // None before: they would bind devices that are nobody's yet.
  for (const auto& instance : all_instances()) {
    if (auto started = instance->server->start(); !started)
      spdlog::error("instance {}: {}", instance->record.id, started.error().message());
  }
  release_orphans(orphans);
  if (!found.empty()) spdlog::info("{} instances taken over", found.size());
  return {};
}

Result<void> Manager::restore_instance(InstanceRecord record, std::vector<Fd> fds,
                                       const std::vector<keeper::Item*>& parts,
                                       std::chrono::steady_clock::time_point deadline) {
  if (fds.size() != 2) return fail(EINVAL, "{} descriptors kept", fds.size());
  auto lineage = lineage_of(fds[1].get(), record.root_uid);
  if (!lineage) return propagate(lineage);
  apply_rules(*lineage);
  auto charge = instance_limits_.charge(lineage->chain);
  const uint64_t id = record.id;
  auto instance = build(std::move(record), std::move(fds[0]), std::move(fds[1]), std::move(*lineage));
  if (!instance) return propagate(instance);
  if (charge) (*instance)->charge = std::move(*charge);
  std::vector<kernel::DeviceRecord> devices;
  std::optional<engine::NodeOwner> control;
  for (keeper::Item* part : parts) {
    if (part->name.starts_with("device/")) {
      auto device = decode_device(part->payload);
      if (!device) continue;
      if (device->binding && !part->fds.empty()) {
        device->binding->token = std::make_shared<const sys::LoopBinding>(std::move(part->fds.front()));
      }
      devices.push_back(std::move(*device));
    } else if (part->name.starts_with("entry/")) {
      auto entry = decode_entry(part->payload);
      fusefs::Entries* entries = (*instance)->server->entries();
      if (entry && entries != nullptr) entries->adopt(std::move(*entry));
    } else if (part->name.starts_with("control/")) {
      if (auto owner = decode_owner(part->payload)) control = *owner;
    }
  }
  (*instance)->engine->restore(devices, control, deadline);
  for (keeper::Item* part : parts) {
    if (!part->name.starts_with("open/")) continue;
    const uint64_t number = to_number(split(part->name).back());
    const auto handle = fusefs::decode_handle(number);
    if (!handle) continue;
    Fd native = part->fds.empty() ? Fd() : std::move(part->fds.front());
    auto node = (*instance)->engine->reopen(handle->node, handle->options, std::move(native));
    if (node) (*instance)->server->handles().adopt(number, std::move(*node));
  }
  const std::lock_guard lock(mutex_);
  instances_[id] = std::move(*instance);
  return {};
}

// Devices of instances that ended without a server to see it, and of servers whose keeper is gone, too.
std::vector<uint32_t> Manager::find_orphans() {
  const auto all = all_instances();
  std::vector<uint32_t> orphans;
  for (const uint32_t number : sys::loop_devices_from(options_.devices.first)) {
    if (!pool_->owns(number) || !sys::loop_facts(number)) continue;
    const bool known = std::ranges::any_of(
        all, [number](const auto& instance) { return instance->engine->has_kernel_device(number); });
    if (!known) orphans.push_back(number);
  }
  return orphans;
}

// By a porter: to open a device may take as long as its backing file likes.
void Manager::release_orphans(const std::vector<uint32_t>& numbers) {
  if (numbers.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (const uint32_t number : numbers) {
      pool_->adopt(number);
      clearing_.push_back(number);
    }
  }
  threads_.run([porters = options_.porters, numbers] {
    for (const uint32_t number : numbers) {
      const auto facts = sys::loop_facts(number);
      if (facts) (void)porter::clear_device(*porters, number, facts->disk_sequence);
    }
  });
}

}  // namespace loopfs::daemon
