// Descriptors that travel with a message: SCM_RIGHTS of unix(7).
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/fd.h"

namespace loopfs::sys {

// Room for the control message of at most `Most` descriptors.
template <size_t Most>
class ControlMessage {
 public:
  // To be sent with the message; `fds`: borrowed, at most `Most`.
  void attach(msghdr& header, std::span<const int> fds) {
    if (fds.empty()) return;
    header.msg_control = bytes_.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }

  // To be received into.
  void expect(msghdr& header) {
    header.msg_control = bytes_.data();
    header.msg_controllen = bytes_.size();
  }

 private:
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(Most * sizeof(int))> bytes_{};
};

// Takes over the descriptors of a message that was received, all of them, before anything is judged.
inline void adopt_descriptors(msghdr& header, std::vector<Fd>& fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace loopfs::sys
