#include "sys/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "sys/message.h"
#include "sys/namespace.h"

namespace loopfs::sys {
namespace {

struct Header {
  int code = 0;
  uint64_t value = 0;
  char what[128] = {};
};

[[noreturn]] void report(int socket, const Result<ChildReport>& found) {
  Header header{.code = found ? 0 : std::max(found.error().code, 1), .value = found ? found->value : 0};
  if (!found) found.error().what.copy(header.what, sizeof header.what - 1);
  const int fds[] = {found ? found->fd.get() : -1};
  (void)send_message(socket, std::as_bytes(std::span(&header, 1)), std::span(fds, fds[0] >= 0 ? 1u : 0u));
  ::_exit(0);
}

Result<ChildReport> read_report(int socket) {
  auto message = receive_message(socket);
  if (!message) return propagate(message);
  if (!*message || (*message)->bytes.size() != sizeof(Header)) return fail(EIO, "a child ended");
  Header header;
  std::memcpy(&header, (*message)->bytes.data(), sizeof header);
  if (header.code != 0) return fail(header.code, "{}", header.what);
  ChildReport found{.fd = {}, .value = header.value};
  if (!(*message)->fds.empty()) found.fd = std::move((*message)->fds.front());
  return found;
}

}  // namespace

Result<ChildReport> in_child(int patience, const std::function<Result<ChildReport>(int kept)>& act) {
  auto ends = socket_pair();
  if (!ends) return propagate(ends);
  const pid_t child = ::fork();
  if (child < 0) return errno_fail("fork");
  if (child == 0) {
    if (!die_with_parent()) ::_exit(1);
    report(ends->second.get(), act(ends->second.get()));
  }
  ends->second.reset();
  pollfd answer{ends->first.get(), POLLIN, 0};
  const bool late = ::poll(&answer, 1, patience) == 0;
  if (late) ::kill(child, SIGKILL);
  auto found = late ? fail(ETIMEDOUT, "a child took too long") : read_report(ends->first.get());
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return found;
}

}  // namespace loopfs::sys
