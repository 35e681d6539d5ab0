#include "fusefs/node_table.h"

namespace loopfs::fusefs {
namespace {

// loop-control: 2 and 3. loopNpM: from 4 on, two each, 256 places a device (M 0 is the device itself).
constexpr uint64_t kControl = 2;
constexpr uint64_t kFirst = 4;
constexpr uint64_t kPlaces = instance::kMostPartitions + 1;
// Kernel devices: a bit that no other has, the binding, the device, the partition.
constexpr uint64_t kKernelBit = uint64_t{1} << 62;
constexpr unsigned kBindingAt = 20;

}  // namespace

uint64_t inode_number(const Inode& inode) {
  if (inode.flavour == Flavour::kKernel) {
    return kKernelBit | (inode.binding & UINT32_MAX) << kBindingAt | inode.node.device * kPlaces |
           inode.node.partition;
  }
  const uint64_t flavour = inode.flavour == Flavour::kFile ? 1 : 0;
  if (inode.node.kind == instance::NodeId::Kind::kControl) return kControl + flavour;
  return kFirst + 2 * (inode.node.device * kPlaces + inode.node.partition) + flavour;
}

std::optional<Inode> inode_of_number(uint64_t number) {
  if (number < kControl) return std::nullopt;
  if ((number & kKernelBit) != 0) {
    const uint64_t place = number & ((uint64_t{1} << kBindingAt) - 1);
    const auto device = static_cast<uint32_t>(place / kPlaces);
    const auto partition = static_cast<uint32_t>(place % kPlaces);
    return Inode{partition == 0 ? instance::NodeId::of_device(device)
                                : instance::NodeId::of_partition(device, partition),
                 Flavour::kKernel, number >> kBindingAt & UINT32_MAX};
  }
  const Flavour flavour = (number & 1) != 0 ? Flavour::kFile : Flavour::kDevice;
  if (number < kFirst) return Inode{instance::NodeId::control(), flavour};
  const uint64_t place = (number - kFirst) / 2;
  if (place >= instance::kMostDevices * kPlaces) return std::nullopt;
  const auto device = static_cast<uint32_t>(place / kPlaces);
  const auto partition = static_cast<uint32_t>(place % kPlaces);
  if (partition == 0) return Inode{instance::NodeId::of_device(device), flavour};
  return Inode{instance::NodeId::of_partition(device, partition), flavour};
}

}  // namespace loopfs::fusefs
