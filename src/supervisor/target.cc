#include "supervisor/target.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>

#include <fstream>
#include <sstream>

#include "supervisor/decision.h"
#include "sys/procfs.h"
#include "sys/remote_memory.h"

namespace loopfs::supervisor {
namespace {

constexpr size_t kMostText = 4096;  // PATH_MAX, and the page of mount data

}  // namespace

Result<std::string> Target::text(size_t index) const {
  const uint64_t address = notification_.arguments[index];
  if (address == 0) return std::string();
  auto text = sys::read_string(notification_.tid, address, kMostText);
  if (!valid()) return fail(ESRCH, "the caller of mount(2) is gone");
  return text;
}

Result<Fd> Target::open(const char* name) const {
  const std::string path = fmt::format("/proc/{}/{}", notification_.tid, name);
  const bool directory = std::string_view(name).find('/') == std::string_view::npos;
  Fd fd(::open(path.c_str(), O_CLOEXEC | (directory ? O_PATH | O_DIRECTORY : O_RDONLY)));
  if (!fd.valid()) return errno_fail("open '{}'", path);
  if (!valid()) return fail(ESRCH, "the caller of mount(2) is gone");
  return fd;
}

Result<std::vector<Fd>> Target::places() const {
  std::vector<Fd> fds;
  for (const char* name : {"ns/user", "ns/mnt", "root", "cwd", "ns/pid"}) {
    auto fd = open(name);
    if (!fd) return propagate(fd);
    fds.push_back(std::move(*fd));
  }
  const Fd owner(::ioctl(fds[1].get(), NS_GET_USERNS));
  if (!owner.valid()) return fail(EPERM, "the caller's mounts belong to a namespace above");
  const auto owner_id = sys::namespace_id(owner.get());
  const auto own_id = sys::namespace_id(fds[0].get());
  const auto status = sys::status_of(notification_.tid);
  if (!valid()) return fail(ESRCH, "the caller of mount(2) is gone");
  if (!owner_id || !own_id || !status || !(*owner_id == *own_id) ||
      ((status->effective_capabilities >> CAP_SYS_ADMIN) & 1) == 0) {
    return fail(EPERM, "the caller may not mount");
  }
  return fds;
}

std::string Target::visible_path(const std::string& path) const {
  if (!path.starts_with("/proc/") && !path.starts_with("/dev/fd")) return path;
  // The last number of NSpid is the id in the caller's own pid namespace, which its /proc shows.
  std::ifstream file(fmt::format("/proc/{}/status", notification_.tid));
  const auto last_number = [](const std::string& line) {
    return std::atoi(line.substr(line.rfind('\t') + 1).c_str());
  };
  int pid = 0, tid = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("NStgid:")) pid = last_number(line);
    if (line.starts_with("NSpid:")) tid = last_number(line);
  }
  return rewrite_proc_self(path, pid, tid);
}

}  // namespace loopfs::supervisor
