// Varlink's framing: messages that end in a NUL, with file descriptors, over a Unix stream socket.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::varlink {

inline constexpr size_t kMaxMessage = 65536;  // bytes, without the NUL
inline constexpr size_t kMaxFds = 8;          // of one message
inline constexpr std::chrono::milliseconds kSendTimeout{10000};

struct Frame {
  std::string text;
  std::vector<Fd> fds;  // close-on-exec
};

// What becomes of descriptors that come with messages.
enum class Descriptors { kTake, kRefuse };

// Owns a connected Unix stream socket. The other end is not trusted. Used by one thread; another may end it
// with shutdown(2) on fd().
class Channel {
 public:
  explicit Channel(Fd socket, Descriptors descriptors = Descriptors::kTake)
      : socket_(std::move(socket)), descriptors_(descriptors) {}

  // Waits for a whole message, at most `patience`; none: as long as it takes. The descriptors are those that came
  // with its bytes. None: the other end closed, or shut_down() here, between two messages. After an error the
  // position in the stream is lost: close. Errors: ETIMEDOUT; EMSGSIZE a message too long or too many descriptors
  // (also if this process can hold no more of them), EPROTO an end in the middle of a message, others of
  // recvmsg(2). Descriptors::kRefuse: EPERM a descriptor comes with it; it is still in the socket, as
  // sys/stranger_socket.h has it.
  Result<std::optional<Frame>> receive(std::optional<std::chrono::milliseconds> patience = std::nullopt);

  // Sends `text`, which has no NUL, and the NUL. `fds` are borrowed. Errors: EMSGSIZE, with nothing sent;
  // EPIPE the other end is gone (no SIGPIPE); ETIMEDOUT it did not read, and the connection is shut down, as
  // it is after any failure in the middle of a message.
  Result<void> send(const std::string& text, std::span<const int> fds = {},
                    std::chrono::milliseconds timeout = kSendTimeout);

  void shut_down();  // both directions; wakes a receive() or send() of another thread
  void close() { socket_.reset(); }
  Fd release() { return std::move(socket_); }
  int fd() const { return socket_.get(); }

 private:
  Fd socket_;
  Descriptors descriptors_;
};

}  // namespace loopfs::varlink
