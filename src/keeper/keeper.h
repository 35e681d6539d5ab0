// The keeper of loopfsd: it holds descriptors and small records for the server, which does the work, and
// starts the server again when it is killed, crashes, or is to be replaced by a newer program. Nothing of the
// server's work is lost, then.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "keeper/item.h"

namespace loopfs::keeper {

// The server's exit status for "start the program again, it may be a newer one": EX_TEMPFAIL of sysexits.h.
inline constexpr int kReplaceStatus = 75;

// And the one for "it makes no sense to start me again" (EX_CONFIG), heeded as long as none has been ready. With any other
// status it is started again.
inline constexpr int kGiveUpStatus = 78;

struct Bounds {
  using Duration = std::chrono::milliseconds;
  Duration first_pause{100};  // before a server that died early for the second time in a row; doubles
  Duration longest_pause{5000};
  Duration long_life{30000};  // a server that lived so long did not die early
  Duration patience{10000};   // for a server to end that was told to; then SIGKILL
  // For one that was killed, or has no first thread any more; then the next is started.
  Duration last_patience{1000};
};

struct Options {
  std::vector<std::string>
      server_command;         // a path and arguments; "{fd}" in them: the number of Store's socket
  std::vector<Fd> inherited;  // at most 8, for the server: the fds of item "listen"
  Bounds bounds;
  std::function<void(const std::string&)> report;  // a line about what happens
  std::function<void()> ready;                     // called once: a server serves; may be unset
  std::string pid_file;                            // has the keeper's pid while it runs; empty: none
};

// The keeper's main loop. To be called once in a process, early in its main(): it has the process's signals,
// children and NOTIFY_SOCKET to itself. Returns the exit status: the server's own or 128 + its signal after a
// stop; 126 or 127 if its program could not be executed the first time, kGiveUpStatus if it said so; 1 after an
// error of its own.
//
// Signals to the keeper:
//   SIGTERM, SIGINT, SIGQUIT   stop: the server is sent the same; the next of them, or impatience: SIGKILL
//   SIGHUP                     replace: the server is sent SIGUSR1, at which it is to exit with
//   kReplaceStatus
// Others that would end it are blocked. Signals that a terminal or systemd sends to all processes of the
// service reach the server twice, and it has to bear that.
int run(Options options);

}  // namespace loopfs::keeper
