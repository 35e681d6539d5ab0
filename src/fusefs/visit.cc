#include "fusefs/visit.h"

namespace loopfs::fusefs {

using engine::NodeAttributes;
using engine::NodeId;

struct stat root_attributes(const InstanceServer& server) {
  struct stat status {};
  status.st_ino = kRootInode;
  status.st_mode = S_IFDIR | 0755;
  status.st_nlink = 2;
  status.st_uid = server.root_uid();
  status.st_gid = server.root_gid();
  return status;
}

struct stat attributes_of(const Inode& inode, const NodeAttributes& node) {
  struct stat status {};
  status.st_ino = inode_number(inode);
  status.st_nlink = 1;
  status.st_uid = node.uid;
  status.st_gid = node.gid;
  status.st_rdev = node.device;
  status.st_blksize = kBlock;
  status.st_atim = status.st_mtim = status.st_ctim = node.changed;
  const bool control = inode.node.kind == NodeId::Kind::kControl;
  if (inode.flavour == Flavour::kFile) {
    status.st_mode = S_IFREG | node.mode;
    status.st_size = static_cast<off_t>(node.size);
    status.st_blocks = static_cast<blkcnt_t>(node.size / 512);
  } else {
    status.st_mode = (control ? S_IFCHR : S_IFBLK) | node.mode;
  }
  return status;
}

}  // namespace loopfs::fusefs
