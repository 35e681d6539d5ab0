#include "varlink/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "sys/control_message.h"
#include "sys/stranger_socket.h"

namespace loopfs::varlink {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kChunk = 4096;  // looked at in one go; small, as pipelined messages are looked at repeatedly

// Takes at most `size` bytes, which peek() saw, and the descriptors sent with them.
Result<void> take(int socket, size_t size, Frame& frame) {
  char buffer[kChunk];
  iovec vector{buffer, size};
  sys::ControlMessage<kMaxFds> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.expect(header);
  ssize_t received;
  do {
    received = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno_fail("recvmsg");
  sys::adopt_descriptors(header, frame.fds);
  if (header.msg_flags & MSG_CTRUNC) return fail(EMSGSIZE, "recvmsg: descriptors cut off");
  if (frame.fds.size() > kMaxFds) return fail(EMSGSIZE, "recvmsg: over {} descriptors in a message", kMaxFds);
  if (received == 0) return fail(EPROTO, "recvmsg");
  frame.text.append(buffer, static_cast<size_t>(received));
  return {};
}

ssize_t send_part(int socket, std::string_view bytes, std::span<const int> fds) {
  iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
  sys::ControlMessage<kMaxFds> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.attach(header, fds);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

// Whether the socket has or takes more, or is at its end, before the deadline; none: whenever that is.
bool wait_for(int socket, short event, std::optional<Clock::time_point> deadline) {
  for (;;) {
    int left = -1;
    if (deadline) {
      const auto time = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      left = static_cast<int>(std::max<decltype(time)>(time, 0));
    }
    pollfd entry{socket, event, 0};
    const int ready = ::poll(&entry, 1, left);
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace

Result<std::optional<Frame>> Channel::receive(std::optional<std::chrono::milliseconds> patience) {
  std::optional<Clock::time_point> deadline;
  if (patience) deadline = Clock::now() + *patience;
  Frame frame;
  char buffer[kChunk];
  for (;;) {
    if (!wait_for(fd(), POLLIN, deadline)) return fail(ETIMEDOUT, "receive");
    const auto waiting = sys::peek(fd(), buffer);
    if (!waiting && waiting.error().code == EAGAIN) continue;
    if (!waiting) return propagate(waiting);
    if (waiting->descriptors && descriptors_ == Descriptors::kRefuse)
      return fail(EPERM, "receive: with a descriptor");
    const size_t seen = waiting->bytes;
    if (seen == 0) {
      if (frame.text.empty()) return std::nullopt;
      return fail(EPROTO, "receive: closed in the middle of a message");
    }
    // Taken up to its NUL and no further: the descriptors of the next message are to come with that one.
    const auto* end = static_cast<const char*>(std::memchr(buffer, '\0', seen));
    const size_t body = end ? static_cast<size_t>(end - buffer) : seen;
    if (frame.text.size() + body > kMaxMessage) return fail(EMSGSIZE, "receive: over {} bytes", kMaxMessage);
    auto taken = take(fd(), end ? body + 1 : body, frame);
    if (!taken) return propagate(taken);
    if (frame.text.back() != '\0') continue;
    frame.text.pop_back();
    return frame;
  }
}

Result<void> Channel::send(const std::string& text, std::span<const int> fds,
                           std::chrono::milliseconds timeout) {
  if (text.size() > kMaxMessage) return fail(EMSGSIZE, "send a message of {} bytes", text.size());
  if (fds.size() > kMaxFds) return fail(EMSGSIZE, "send {} descriptors", fds.size());
  const auto deadline = Clock::now() + timeout;
  std::string_view left(text.c_str(), text.size() + 1);
  while (!left.empty()) {
    const bool first = left.size() == text.size() + 1;
    const ssize_t sent = send_part(fd(), left, first ? fds : std::span<const int>());
    if (sent >= 0) {
      left.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EAGAIN) {
      if (wait_for(fd(), POLLOUT, deadline)) continue;
      shut_down();
      return fail(ETIMEDOUT, "send");
    }
    auto error = errno_fail("sendmsg");
    if (!first) shut_down();
    return error;
  }
  return {};
}

void Channel::shut_down() {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace loopfs::varlink
