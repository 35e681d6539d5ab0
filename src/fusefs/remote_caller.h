// The caller of a FUSE request, reached through /proc and the process_vm and pidfd system calls.
#pragma once

#include <sys/types.h>

#include "engine/caller.h"

namespace loopfs::fusefs {

// Good for one request: while the kernel waits for our answer the caller cannot end, so its thread id cannot
// come to mean another. Uses no lock; on any thread.
class RemoteCaller final : public engine::Caller {
 public:
  // `user_namespace`: borrowed; the namespace that owns the instance. `device`: st_dev of the instance's
  // mount.
  RemoteCaller(pid_t tid, int user_namespace, dev_t device)
      : tid_(tid), user_namespace_(user_namespace), device_(device) {}

  Result<void> read(uint64_t address, std::span<std::byte> bytes) const override;
  Result<void> write(uint64_t address, std::span<const std::byte> bytes) const override;
  pid_t thread() const override { return tid_; }
  Result<Fd> take_fd(int fd) const override;
  std::string path_of_fd(int fd) const override;
  Result<Fd> reopen(int own_fd, int flags) const override;
  Result<struct stat> stat_of_fd(int own_fd) const override;
  std::optional<instance::NodeId> node_of_fd(int own_fd) const override;
  ino_t inode_of(const instance::NodeId& node) const override;
  bool has_sys_admin() const override;

 private:
  pid_t tid_;
  int user_namespace_;
  dev_t device_;
};

}  // namespace loopfs::fusefs
