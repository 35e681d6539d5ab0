#include "varlink/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <optional>
#include <string>

#include "sys/pidfd.h"
#include "sys/uapi.h"

namespace loopfs::varlink {
namespace {

// proc(5): who owns the folder. Its file "status" takes part in the process's memory, and with that may have to wait.
std::optional<uid_t> effective_user(pid_t pid) {
  struct stat status = {};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &status) != 0) return std::nullopt;
  return status.st_uid;
}

// poll(2) now; also what it reports unasked.
short state_of(int fd, short events) {
  pollfd entry{fd, events, 0};
  return ::poll(&entry, 1, 0) < 0 ? static_cast<short>(POLLERR) : entry.revents;
}

}  // namespace

Result<Fd> peer_pidfd_by_number(int socket, pid_t pid, uid_t uid) {
  if (pid <= 0) return fail(ESRCH, "peer outside of this pid namespace");
  auto pidfd = sys::pidfd_of_process(pid);
  if (!pidfd) return fail(ESRCH, "peer {}", pid);  // EINVAL: the number is a mere thread's now
  const bool same_user = effective_user(pid) == uid;
  // In this order: the pidfd is not readable now, so /proc/PID was that process's.
  const bool alive = state_of(pidfd->get(), POLLIN) == 0;
  const bool connected = (state_of(socket, 0) & (POLLHUP | POLLERR)) == 0;
  if (!same_user || !alive || !connected) return fail(ESRCH, "peer {}", pid);
  return pidfd;
}

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return errno_fail("getsockopt SO_PEERCRED");
  }
  Peer peer{credentials.pid, credentials.uid, credentials.gid, Fd()};
  int pidfd = -1;
  size = sizeof pidfd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
    peer.pidfd.reset(pidfd);
    return peer;
  }
  if (errno != ENOPROTOOPT && errno != EINVAL) return errno_fail("getsockopt SO_PEERPIDFD");
  auto by_number = peer_pidfd_by_number(socket, peer.pid, peer.uid);
  if (!by_number) return propagate(by_number);
  peer.pidfd = std::move(*by_number);
  return peer;
}

}  // namespace loopfs::varlink
