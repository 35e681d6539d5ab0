// Inode numbers of the instance: each node has two, one for those who look and one for those who open.
#pragma once

#include <cstdint>
#include <optional>

#include "instance/node.h"

namespace loopfs::fusefs {

enum class Flavour : uint8_t {
  kDevice,  // stat(2) sees a block device, or a character device for loop-control
  kFile,    // open(2) gets a regular file that the server serves
  kKernel,  // a kernel loop device, for those who look and those who open
};

struct Inode {
  instance::NodeId node;
  Flavour flavour = Flavour::kDevice;
  uint64_t binding = 0;  // of kKernel: engine::NodeAttributes::binding, of which the lowest 32 bits are kept
  bool operator==(const Inode&) const = default;
};

constexpr uint64_t kRootInode = 1;

// Both pure. The root is not among them; SEMANTICS: loop-control is inode 2 for those who look.
uint64_t inode_number(const Inode& inode);
std::optional<Inode> inode_of_number(uint64_t number);

}  // namespace loopfs::fusefs
