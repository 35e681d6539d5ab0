#include "sys/stranger_socket.h"

#include <sys/socket.h>

#include "sys/uapi.h"

namespace loopfs::sys {

bool refuse_descriptors(int socket) {
  const int on = 1, off = 0;
  (void)::setsockopt(socket, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
  return ::setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == 0;
}

Result<Waiting> peek(int socket, std::span<char> buffer) {
  iovec vector{buffer.data(), buffer.size()};
  msghdr header{};  // without room for control messages: what comes of those is a flag
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  ssize_t seen;
  do {
    seen = ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT);
  } while (seen < 0 && errno == EINTR);
  if (seen < 0) return errno_fail("recvmsg");
  return Waiting{static_cast<size_t>(seen), (header.msg_flags & MSG_CTRUNC) != 0};
}

bool empty_for_close(int socket) {
  ::shutdown(socket, SHUT_RDWR);  // nothing comes after this
  char buffer[4096];
  for (;;) {
    const auto waiting = peek(socket, buffer);
    if (!waiting || (waiting->bytes == 0 && !waiting->descriptors)) return true;
    if (waiting->descriptors) return false;
    if (::recv(socket, buffer, waiting->bytes, MSG_DONTWAIT) <= 0) return true;
  }
}

}  // namespace loopfs::sys
