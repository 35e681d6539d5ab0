#include "sys/message.h"

#include <sys/socket.h>

#include "sys/control_message.h"

namespace loopfs::sys {
namespace {

constexpr size_t kMostFds = 16;

}  // namespace

Result<std::pair<Fd, Fd>> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno_fail("socketpair");
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<void> send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (fds.size() > kMostFds) return fail(EMSGSIZE, "send {} descriptors", fds.size());
  iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  ControlMessage<kMostFds> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.attach(header, fds);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno_fail("sendmsg");
  return {};
}

Result<std::optional<Message>> receive_message(int socket, size_t limit) {
  Message message;
  message.bytes.resize(limit);
  iovec vector{message.bytes.data(), message.bytes.size()};
  ControlMessage<kMostFds> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.expect(header);
  ssize_t received;
  do {
    received = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno_fail("recvmsg");
  adopt_descriptors(header, message.fds);
  if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return fail(EMSGSIZE, "recvmsg");
  if (received == 0 && message.fds.empty()) return std::nullopt;
  message.bytes.resize(static_cast<size_t>(received));
  return message;
}

}  // namespace loopfs::sys
