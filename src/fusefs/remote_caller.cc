#include "fusefs/remote_caller.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "fusefs/node_table.h"
#include "sys/file_identity.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/procfs.h"
#include "sys/remote_memory.h"
#include "sys/reopen.h"

namespace loopfs::fusefs {

Result<void> RemoteCaller::read(uint64_t address, std::span<std::byte> bytes) const {
  auto done = sys::read_memory(tid_, address, bytes);
  if (!done && done.error().code != EFAULT) return fail(EFAULT, "{}", done.error().message());
  return done;
}

Result<void> RemoteCaller::write(uint64_t address, std::span<const std::byte> bytes) const {
  auto done = sys::write_memory(tid_, address, bytes);
  if (!done && done.error().code != EFAULT) return fail(EFAULT, "{}", done.error().message());
  return done;
}

Result<Fd> RemoteCaller::take_fd(int fd) const {
  if (fd < 0) return fail(EBADF, "descriptor {}", fd);
  auto process = sys::pidfd_of_thread(tid_);
  if (!process) return propagate(process);
  return sys::take_fd(process->get(), fd);
}

std::string RemoteCaller::path_of_fd(int fd) const {
  return sys::path_of_fd(tid_, fd).value_or(std::string());
}

Result<Fd> RemoteCaller::reopen(int own_fd, int flags) const {
  return sys::reopen(own_fd, flags, user_namespace_);
}

Result<struct stat> RemoteCaller::stat_of_fd(int own_fd) const {
  return sys::stat_of_fd(own_fd, user_namespace_);
}

std::optional<instance::NodeId> RemoteCaller::node_of_fd(int own_fd) const {
  // fstat would ask our own server, from one of its threads.
  const auto file = sys::file_identity(own_fd);
  if (!file || file->device != device_) return std::nullopt;
  const auto inode = inode_of_number(file->inode);
  return inode ? std::optional(inode->node) : std::nullopt;
}

ino_t RemoteCaller::inode_of(const instance::NodeId& node) const {
  return inode_number({node, Flavour::kDevice});
}

bool RemoteCaller::has_sys_admin() const {
  return sys::has_sys_admin_over(user_namespace_, tid_);
}

}  // namespace loopfs::fusefs
