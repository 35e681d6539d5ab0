#include "fusefs/node_table.h"

#include <gtest/gtest.h>

namespace loopfs::fusefs {
namespace {

using instance::NodeId;

TEST(InodeNumber, IsReversible) {
  for (const NodeId node : {NodeId::control(), NodeId::of_device(0), NodeId::of_device(4095),
                            NodeId::of_partition(0, 1), NodeId::of_partition(4095, 255)}) {
    for (const Flavour flavour : {Flavour::kDevice, Flavour::kFile}) {
      const Inode inode{node, flavour};
      EXPECT_EQ(inode_of_number(inode_number(inode)), inode) << node.name();
    }
  }
}

TEST(InodeNumber, OfKernelDevices) {
  // The lowest 20 bits of a binding are the number that the inode leads to: none may be lost.
  const Inode inode{NodeId::of_partition(7, 3), Flavour::kKernel, 0xfff'fffff};
  EXPECT_EQ(inode_of_number(inode_number(inode)), inode);
  for (unsigned bit = 0; bit < 32; ++bit) {
    const Inode other{inode.node, Flavour::kKernel, inode.binding ^ uint64_t{1} << bit};
    EXPECT_NE(inode_number(other), inode_number(inode)) << bit;
  }
}

TEST(InodeNumber, LoopControlIsInodeTwo) {
  EXPECT_EQ(inode_number({NodeId::control(), Flavour::kDevice}), 2u);
}

TEST(InodeNumber, NeighboursDiffer) {
  EXPECT_NE(inode_number({NodeId::of_partition(0, 255), Flavour::kFile}),
            inode_number({NodeId::of_device(1), Flavour::kDevice}));
}

TEST(InodeOfNumber, TheRootAndWhatLiesBeyondAreNone) {
  EXPECT_FALSE(inode_of_number(kRootInode));
  EXPECT_FALSE(inode_of_number(uint64_t{1} << 40));
}

}  // namespace
}  // namespace loopfs::fusefs
