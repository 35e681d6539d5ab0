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

// The controlling terminal, if there is one, and who in the sandbox may have it. A shell makes a process group of its
// own, which the shell outside knows nothing of: it lends the terminal to loopfs's group only.
class Terminal {
 public:
  Terminal();

  // The command has stopped: remembers whether the terminal was in the hands of its process group.
  void command_stopped(int command_pidfd);

  // The command is about to continue: gives the terminal back to it if it had it and loopfs's group has it now.
  void command_continues();

  // The sandbox has ended: takes the terminal back from a process group that has died with it.
  void take_back();

 private:
  Fd fd_;
  pid_t lent_to_ = -1;
};

}  // namespace loopfs::sandbox
