#include "kernel/device_state.h"

#include <sys/sysmacros.h>

#include "engine/device_numbers.h"
#include "kernel/device_pool.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {
namespace {

// A device behind the device is open by the machine's node of it, whose name says nothing to the owner.
std::string backing_file(const Binding& binding,
                         const std::function<std::optional<engine::NodeId>(const sys::LoopName&)>& node_of) {
  std::string path = sys::loop_backing_file(binding.number());
  std::string_view name = path;
  if (name.starts_with("/dev/")) name.remove_prefix(4);
  if (!name.starts_with('/')) return path.empty() ? binding.backing_path() : path;
  const auto device = sys::parse_loop_name(name.substr(1));
  if (!device) return path;
  const auto node = node_of(*device);
  if (node) return "/dev/" + node->name();
  // One of the machine's, which the owner has by a name of his own.
  return binding.current_sequence() == binding.sequence() ? binding.backing_path() : std::string(name);
}

}  // namespace

dev_t number_while_free(const engine::NodeId& id) {
  if (id.kind == engine::NodeId::Kind::kControl) return engine::device_number(id);
  return makedev(7, DevicePool::kEndOfNumbers + id.device);
}

engine::DeviceState describe(
    uint32_t number, const std::shared_ptr<Binding>& binding, uint64_t sequence_while_free,
    const std::function<std::optional<engine::NodeId>(const sys::LoopName&)>& node_of) {
  engine::DeviceState state{.number = number,
                            .device = number_while_free(engine::NodeId::of_device(number)),
                            .disk_sequence = sequence_while_free};
  const auto facts = binding && binding->bound() ? sys::loop_facts(binding->number()) : std::nullopt;
  if (!facts) return state;
  state.device = makedev(7, binding->number());
  state.bound = true;
  state.read_only = facts->read_only;
  state.autoclear = facts->autoclear;
  state.partscan = facts->partscan;
  state.direct_io = facts->direct_io;
  state.size = facts->size;
  state.offset = facts->offset;
  state.sizelimit = facts->sizelimit;
  state.logical_block_size = facts->logical_block_size;
  state.physical_block_size = facts->physical_block_size;
  state.io_minimum = facts->io_minimum;
  state.io_optimal = facts->io_optimal;
  state.discard_granularity = static_cast<uint32_t>(facts->discard_granularity);
  state.rotational = facts->rotational;
  state.read_ahead = facts->read_ahead;
  state.disk_sequence = facts->disk_sequence;
  state.statistics = sys::loop_statistics(binding->number(), 0);
  state.backing_file = backing_file(*binding, node_of);
  for (const auto& [partition, part] : sys::loop_partitions(binding->number())) {
    state.partitions.push_back({.number = partition,
                                .device = part.device,
                                .start = part.start,
                                .size = part.size,
                                .uuid = part.uuid,
                                .label = part.label,
                                .read_only = part.read_only,
                                .statistics = sys::loop_statistics(binding->number(), partition)});
  }
  return state;
}

}  // namespace loopfs::kernel
