#include "sys/remote_memory.h"

#include <sys/uio.h>

namespace loopfs::sys {
namespace {

iovec remote_range(uint64_t address, size_t size) {
  return {reinterpret_cast<void*>(static_cast<uintptr_t>(address)), size};
}

Result<void> check(ssize_t copied, size_t size, const char* act, uint64_t address) {
  if (copied < 0) return errno_fail("{} {} bytes at {:#x}", act, size, address);
  if (static_cast<size_t>(copied) != size) return fail(EFAULT, "{} {} bytes at {:#x}", act, size, address);
  return {};
}

}  // namespace

Result<void> read_memory(pid_t tid, uint64_t address, std::span<std::byte> bytes) {
  if (bytes.empty()) return {};
  const iovec local{bytes.data(), bytes.size()};
  const iovec remote = remote_range(address, bytes.size());
  return check(::process_vm_readv(tid, &local, 1, &remote, 1, 0), bytes.size(), "read", address);
}

Result<void> write_memory(pid_t tid, uint64_t address, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const iovec remote = remote_range(address, bytes.size());
  return check(::process_vm_writev(tid, &local, 1, &remote, 1, 0), bytes.size(), "write", address);
}

}  // namespace loopfs::sys
