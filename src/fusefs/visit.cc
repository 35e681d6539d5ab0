#include "fusefs/visit.h"

#include "fusefs/caller_syscall.h"

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

namespace {

// Lets a caller in to a kernel device. What only looks needs no leave: it will not get there.
Result<void> admit(InstanceServer& server, const NodeId& node, uint64_t binding, pid_t caller,
                   const Intent& intent) {
  if (intent.looks) return {};
  // Of a process that we cannot see we could not tell when it is through.
  if (caller == 0) return fail(EACCES, "a caller of another pid namespace");
  return server.engine().admit(node, binding,
                               {.tid = caller, .call = intent.call, .in_open = is_open_call(intent)});
}

}  // namespace

Result<Inode> flavour_for(InstanceServer& server, const NodeAttributes& known, pid_t caller) {
  const Intent intent = caller != 0 ? intent_of(caller) : Intent{};
  if (known.binding) {
    if (auto admitted = admit(server, known.id, *known.binding, caller, intent); !admitted)
      return propagate(admitted);
    return Inode{known.id, Flavour::kKernel, *known.binding};
  }
  // A server of kernel devices is mounted where device nodes work: nobody must get as far as the device number.
  const bool opens = server.handles() != nullptr
                         ? !intent.looks
                         : intent.opens || (caller != 0 && takes_image_files_only(caller));
  return Inode{known.id, opens ? Flavour::kFile : Flavour::kDevice};
}

Result<struct stat> attributes_for(InstanceServer& server, uint64_t number, pid_t caller) {
  if (number == kRootInode) return root_attributes(server);
  const auto inode = inode_of_number(number);
  const auto known = inode ? server.engine().attributes(inode->node) : std::nullopt;
  if (!known) return fail(ENOENT, "inode {}", number);
  if (inode->flavour == Flavour::kKernel) {
    if (!known->binding || (*known->binding & UINT32_MAX) != inode->binding)
      return fail(ESTALE, "inode {}", number);
    auto admitted = admit(server, inode->node, *known->binding, caller, intent_of(caller));
    if (!admitted) return propagate(admitted);
  } else if (server.handles() != nullptr && inode->flavour == Flavour::kDevice &&
             (caller == 0 || !intent_of(caller).looks)) {
    return fail(ESTALE, "inode {}", number);
  }
  return attributes_of(*inode, *known);
}

}  // namespace loopfs::fusefs
