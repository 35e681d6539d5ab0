// The names of an instance: loop-control, loopN, loopNpM.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loopfs::instance {

constexpr uint32_t kMostDevices = 4096;    // N is below this
constexpr uint32_t kMostPartitions = 255;  // M is 1 to this

// A directory that listings of a whole /dev leave out, so that nobody who walks through it, copies it or looks for devices in
// it comes to what is behind: sandbox/dev_tree.h.
inline constexpr std::string_view kHiddenName = ".loopfs";

struct NodeId {
  enum class Kind : uint8_t { kControl, kDevice, kPartition };
  Kind kind = Kind::kControl;
  uint32_t device = 0;     // N; 0 for loop-control
  uint32_t partition = 0;  // M; 0 for the whole device

  static NodeId control() { return {}; }
  static NodeId of_device(uint32_t number) { return {Kind::kDevice, number, 0}; }
  static NodeId of_partition(uint32_t number, uint32_t partition) {
    return {Kind::kPartition, number, partition};
  }
  auto operator<=>(const NodeId&) const = default;  // NOLINT(modernize-use-nullptr): none is written

  std::string name() const;
};

// The node a name stands for, whether or not the instance has it. None for any other name, including
// ones with leading zeros or numbers out of range.
std::optional<NodeId> parse_node_name(std::string_view name);

}  // namespace loopfs::instance
