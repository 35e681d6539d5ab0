#include "kernel/foreign_caller.h"

#include "sys/namespace.h"
#include "sys/procfs.h"

namespace loopfs::kernel {

Result<void> ForeignCaller::read(uint64_t address, std::span<std::byte> bytes) const {
  return porter::read_memory(*account_, tid_, address, bytes);
}

Result<void> ForeignCaller::write(uint64_t address, std::span<const std::byte> bytes) const {
  return porter::write_memory(*account_, tid_, address, bytes);
}

Result<Fd> ForeignCaller::take_fd(int fd) const {
  return fail(EPERM, "descriptor {}", fd);
}

Result<Fd> ForeignCaller::reopen(int own_fd, int) const {
  return fail(EPERM, "descriptor {}", own_fd);
}

std::string ForeignCaller::path_of_fd(int fd) const {
  return sys::path_of_fd(tid_, fd).value_or(std::string());
}

bool ForeignCaller::has_sys_admin() const {
  return sys::has_sys_admin_over(user_namespace_, tid_);
}

}  // namespace loopfs::kernel
