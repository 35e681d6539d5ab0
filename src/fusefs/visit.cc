#include "fusefs/visit.h"

namespace loopfs::fusefs {

using engine::NodeAttributes;
using engine::NodeId;

namespace {

struct stat root_attributes(InstanceServer& server) {
  struct stat status {};
  if (Entries* entries = server.entries()) status.st_mtim = status.st_ctim = entries->root_changed();
  status.st_ino = kRootInode;
  status.st_mode = S_IFDIR | 0755;
  status.st_nlink = 2;
  status.st_uid = server.root_uid();
  status.st_gid = server.root_gid();
  return status;
}

}  // namespace

std::optional<Entry> entry_of(InstanceServer& server, uint64_t number) {
  Entries* entries = server.entries();
  return entries != nullptr ? entries->get(number) : std::nullopt;
}

Result<struct stat> attributes_beside_nodes(InstanceServer& server, uint64_t number) {
  if (number == kRootInode) return root_attributes(server);
  const auto entry = entry_of(server, number);
  if (!entry) return fail(ENOENT, "inode {}", number);
  return attributes_of(*entry);
}

struct stat attributes_of(const Inode& inode, const NodeAttributes& node) {
  struct stat status {};
  // What is opened and what is looked at are one thing to those who compare.
  status.st_ino = inode_number({inode.node, Flavour::kDevice});
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

struct stat attributes_of(const Entry& entry) {
  struct stat status {};
  status.st_ino = entry.number;
  status.st_mode = entry.mode;
  status.st_nlink = entry.is_directory() ? 2 : 1;
  status.st_uid = entry.uid;
  status.st_gid = entry.gid;
  status.st_size = static_cast<off_t>(entry.target.size());
  status.st_blksize = kBlock;
  status.st_atim = status.st_mtim = entry.modified;
  status.st_ctim = entry.changed;
  return status;
}

}  // namespace loopfs::fusefs
