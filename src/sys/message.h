// Messages with file descriptors between our own processes, over SOCK_SEQPACKET.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sys {

struct Message {
  std::vector<std::byte> bytes;
  std::vector<Fd> fds;
};

// Two connected ends, close-on-exec.
Result<std::pair<Fd, Fd>> socket_pair();

// Sends one message; `fds` are borrowed. Errors: EPIPE if the other end is gone (no SIGPIPE), EMSGSIZE.
Result<void> send_message(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});

// Receives one message of at most `limit` bytes and 16 fds, each close-on-exec. None: the other end is
// closed. Errors: EMSGSIZE if the message or its fds were cut off.
Result<std::optional<Message>> receive_message(int socket, size_t limit = 65536);

}  // namespace loopfs::sys
