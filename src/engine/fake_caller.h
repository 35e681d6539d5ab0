// The test's own process as the caller of an engine. For unit tests and tests/parity only.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <climits>
#include <map>
#include <string>

#include "engine/caller.h"

namespace loopfs::engine {

class FakeCaller : public Caller {
 public:
  Result<void> read(uint64_t address, std::span<std::byte> bytes) const override {
    const iovec here{bytes.data(), bytes.size()}, there{reinterpret_cast<void*>(address), bytes.size()};
    if (::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(bytes.size())) {
      return fail(EFAULT, "read memory");
    }
    return {};
  }
  Result<void> write(uint64_t address, std::span<const std::byte> bytes) const override {
    const iovec here{const_cast<std::byte*>(bytes.data()), bytes.size()};
    const iovec there{reinterpret_cast<void*>(address), bytes.size()};
    if (::process_vm_writev(::getpid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(bytes.size())) {
      return fail(EFAULT, "write memory");
    }
    return {};
  }
  Result<Fd> take_fd(int fd) const override {
    Fd taken(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!taken.valid()) return errno_fail("take descriptor {}", fd);
    return taken;
  }
  std::string path_of_fd(int fd) const override {
    char path[PATH_MAX];
    const ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path, sizeof path);
    return length < 0 ? std::string() : std::string(path, static_cast<size_t>(length));
  }
  Result<Fd> reopen(int own_fd, int flags) const override {
    if (refuse_reopen) return fail(EACCES, "reopen");
    Fd opened(::open(fmt::format("/proc/self/fd/{}", own_fd).c_str(), flags | O_CLOEXEC));
    if (!opened.valid()) return errno_fail("reopen");
    return opened;
  }
  std::optional<instance::NodeId> node_of_fd(int own_fd) const override {
    struct stat status;
    if (::fstat(own_fd, &status) != 0) return std::nullopt;
    const auto found = nodes.find(status.st_ino);
    return found == nodes.end() ? std::nullopt : std::optional(found->second);
  }
  bool has_sys_admin() const override { return sys_admin; }

  bool sys_admin = true;
  bool refuse_reopen = false;
  std::map<ino_t, instance::NodeId> nodes;  // files that stand for open nodes of the instance
};

}  // namespace loopfs::engine
