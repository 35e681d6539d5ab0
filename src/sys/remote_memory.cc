#include "sys/remote_memory.h"

#include <sys/uio.h>

#include <algorithm>

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

Result<std::string> read_string(pid_t tid, uint64_t address, size_t limit) {
  constexpr size_t kPage = 4096;
  std::string text;
  while (text.size() < limit) {
    // Not over the end of a page at once: the next one may not be mapped.
    const uint64_t at = address + text.size();
    std::string piece(std::min<size_t>(kPage - at % kPage, limit - text.size()), '\0');
    if (auto read = read_memory(tid, at, std::as_writable_bytes(std::span(piece))); !read)
      return propagate(read);
    const size_t end = piece.find('\0');
    text += piece.substr(0, end);
    if (end != std::string::npos) return text;
  }
  return fail(ENAMETOOLONG, "read a string of thread {}", tid);
}

}  // namespace loopfs::sys
