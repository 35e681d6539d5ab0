#include "keeper/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/fd.h"

namespace loopfs::keeper {

Notifier Notifier::from_environment() {
  Notifier notifier;
  if (const char* path = ::getenv("NOTIFY_SOCKET")) notifier.path_ = path;
  ::unsetenv("NOTIFY_SOCKET");
  return notifier;
}

void Notifier::send(const std::string& lines) const {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path_.empty() || path_.size() > sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return;
  ::sendto(socket.get(), lines.data(), lines.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size()));
}

}  // namespace loopfs::keeper
