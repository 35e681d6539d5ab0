#include "sandbox/dev_links.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace loopfs::sandbox {
namespace {

std::string target_of(const std::string& name) {
  return "loopfs/" + name;
}

bool is_our_link(int directory, const std::string& name) {
  const std::string target = target_of(name);
  char found[64];
  const ssize_t length = ::readlinkat(directory, name.c_str(), found, sizeof found);
  return length >= 0 && std::string_view(found, static_cast<size_t>(length)) == target;
}

}  // namespace

void DevLinks::node_added(engine::NodeId id) {
  const std::string name = id.name();
  if (::symlinkat(target_of(name).c_str(), directory_, name.c_str()) == 0 || errno == EEXIST) return;
  // ENOENT: the sandbox has ended. Anything else is worth knowing, and no reason to refuse the device.
  if (errno != ENOENT) spdlog::warn("link '/dev/{}': {}", name, std::strerror(errno));
}

void DevLinks::node_removed(engine::NodeId id) {
  const std::string name = id.name();
  if (is_our_link(directory_, name)) ::unlinkat(directory_, name.c_str(), 0);
}

}  // namespace loopfs::sandbox
