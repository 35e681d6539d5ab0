// What loopfs and the sandbox's own processes (set-up, then init) tell each other, over one socket pair.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sandbox {

enum class Act : uint32_t {
  // From the set-up process and init.
  kFailed = 1,        // value: errno, text: what was tried
  kNamespaces,        // the user namespace wants its maps
  kInstanceChannels,  // fds
  kViewChannels,      // fds
  kTree,              // fds: /dev, the user namespace; device: st_dev of the instance; value: its id
  kInit,              // value: init's pid, as loopfs counts
  kDone,              // what was asked for
  kListener,          // fds: the listener
  kNoListener,
  kCommand,  // fds: a pidfd of the command
  kStopped,  // value: the signal that stopped the command
  kEnded,    // value: the command's status
  // From loopfs.
  kMapped,
  kAttachViews,
  kInstallFilter,
  kStart,
};

struct Note {
  Act act = Act::kDone;
  int32_t value = 0;
  uint64_t device = 0;
  std::string text;
  std::vector<Fd> fds;
};

// Errors: EPIPE if the other end is gone, EAGAIN if the socket does not block and is full.
Result<void> send_note(int socket, Act act, int32_t value = 0, std::span<const int> fds = {},
                       uint64_t device = 0, const std::string& text = {});
Result<void> send_failure(int socket, const Error& error);

// None: the other end is gone. Errors: EPROTO for a malformed note.
Result<std::optional<Note>> receive_note(int socket);

}  // namespace loopfs::sandbox
