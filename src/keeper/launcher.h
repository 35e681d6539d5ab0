// Starts the server's process.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::keeper {

// The server gets standard input, output and error, its end of the socket, and no other descriptor of the
// keeper. Not even a copy of one to be closed at execve(2): closing a file of a FUSE server may wait for that
// server, which may be the one that is about to be started.
//
// For that, the server's end has a number below those of all descriptors that are kept: it is taken by
// create(), which comes before the first of them. Only the main thread may use it: the server dies with the
// thread.
class Launcher {
 public:
  // `command`: a path and arguments; "{fd}" in them becomes the number. `mask`: the server's blocked signals.
  // Errors: EINVAL no command, EMFILE.
  static Result<Launcher> create(const std::vector<std::string>& command, const sigset_t& mask);

  // Waits until the program is loaded. A server whose program cannot be started exits with kNoProgram or
  // kCannotExecute after a line on standard error. Errors: those of clone(2).
  Result<pid_t> start(const Fd& server_end);

  int number() const { return slot_.get(); }

  static constexpr int kCannotExecute = 126;
  static constexpr int kNoProgram = 127;

 private:
  Launcher() = default;

  std::vector<std::string> command_;
  sigset_t mask_ = {};
  Fd null_;
  Fd slot_;  // of /dev/null while no server is being started
};

}  // namespace loopfs::keeper
