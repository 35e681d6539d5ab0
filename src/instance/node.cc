#include "instance/node.h"

#include <fmt/format.h>

namespace loopfs::instance {
namespace {

// A decimal number without sign or leading zero, at the front of `text`, which is moved past it.
std::optional<uint32_t> take_number(std::string_view& text) {
  uint32_t value = 0;
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
    if (digits == 9) return std::nullopt;  // far out of range; and it keeps `value` from overflowing
    value = value * 10 + static_cast<uint32_t>(text[digits] - '0');
    ++digits;
  }
  if (digits == 0 || (digits > 1 && text[0] == '0')) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

}  // namespace

std::string NodeId::name() const {
  switch (kind) {
    case Kind::kControl:
      return "loop-control";
    case Kind::kDevice:
      return fmt::format("loop{}", device);
    case Kind::kPartition:
      break;
  }
  return fmt::format("loop{}p{}", device, partition);
}

std::optional<NodeId> parse_node_name(std::string_view name) {
  if (name == "loop-control") return NodeId::control();
  if (!name.starts_with("loop")) return std::nullopt;
  name.remove_prefix(4);
  const auto device = take_number(name);
  if (!device || *device >= kMostDevices) return std::nullopt;
  if (name.empty()) return NodeId::of_device(*device);
  if (name.front() != 'p') return std::nullopt;
  name.remove_prefix(1);
  const auto partition = take_number(name);
  if (!partition || !name.empty() || *partition < 1 || *partition > kMostPartitions) return std::nullopt;
  return NodeId::of_partition(*device, *partition);
}

}  // namespace loopfs::instance
