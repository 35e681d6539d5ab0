// loopfs's side of signals and job control: what it takes instead of the command, and how it stops with it.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sandbox {

// The signals of the calling thread that concern the command. The terminal sends them to the whole foreground
// process group, the command included, so those are dropped here; what a process sent to loopfs is for the command.
class SignalQueue {
 public:
  // Blocks the signals in the calling thread; `before` gets the mask as it was.
  static Result<SignalQueue> create(sigset_t* before);

  int fd() const { return fd_.get(); }  // readable when one is waiting

  // The next signal to be forwarded, if one is waiting.
  std::optional<int> next();

  // A waiting signal that means "end", whoever sent it; before there is a command to get it.
  std::optional<int> next_interruption();

 private:
  explicit SignalQueue(Fd fd) : fd_(std::move(fd)) {}
  std::optional<signalfd_siginfo> read_one();
  Fd fd_;
};

// Whether a signal taken by loopfs goes to the command: pure, for the tests.
bool is_for_the_command(const signalfd_siginfo& info);

// Stops the whole process as `signal` does by default, and returns when it continues. Does nothing if the signal
// does not stop by default, or if the process group is orphaned, as a stop from the terminal.
void stop_self(int signal);

// Ends the process by the signal's default action.
[[noreturn]] void die_of(int signal);

// The terminal whose foreground process group loopfs was in, if any.
class Terminal {
 public:
  Terminal();
  // Takes the terminal back from a process group of the sandbox that has died, as an interactive shell leaves it.
  void take_back();

 private:
  Fd fd_;
};

}  // namespace loopfs::sandbox
