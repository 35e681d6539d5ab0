// The caller of a FUSE request of loopfsd's: a stranger.
#pragma once

#include "engine/caller.h"
#include "porter/foreign.h"

namespace loopfs::kernel {

// Good for one request: while the kernel waits for our answer the caller cannot end, so its thread id cannot come to
// mean another. Nothing here can wait for what is the caller's, but for read() and write(), which have a porter do that.
class ForeignCaller final : public engine::Caller {
 public:
  // Both are borrowed. `user_namespace`: the one that owns the instance.
  ForeignCaller(const porter::Account* account, pid_t tid, int user_namespace)
      : account_(account), tid_(tid), user_namespace_(user_namespace) {}

  Result<void> read(uint64_t address, std::span<std::byte> bytes) const override;
  Result<void> write(uint64_t address, std::span<const std::byte> bytes) const override;
  pid_t thread() const override { return tid_; }
  // EPERM: it would be ours to close.
  Result<Fd> take_fd(int fd) const override;
  Result<Fd> reopen(int own_fd, int flags) const override;
  std::string path_of_fd(int fd) const override;
  bool has_sys_admin() const override;

 private:
  const porter::Account* const account_;
  const pid_t tid_;
  const int user_namespace_;
};

}  // namespace loopfs::kernel
