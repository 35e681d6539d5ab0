#include "fusefs/instance_server.h"

namespace loopfs::fusefs {

void InstanceServer::forget_attributes(const Inode& inode) const {
  // An offset below 0: not the pages. ENOENT: the kernel has no such inode.
  (void)fuse_lowlevel_notify_inval_inode(session_->raw(), inode_number(inode), -1, 0);
}

}  // namespace loopfs::fusefs
