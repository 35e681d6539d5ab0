#include "sandbox/job_control.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "sys/pidfd.h"

namespace loopfs::sandbox {
namespace {

constexpr int kTaken[] = {SIGTERM,  SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,
                          SIGWINCH, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU};
constexpr int kInterruptions[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};

bool contains(std::span<const int> signals, int signal) {
  return std::find(signals.begin(), signals.end(), signal) != signals.end();
}

}  // namespace

bool is_for_the_command(const signalfd_siginfo& info) {
  // Positive codes are the kernel's: of those only the terminal's can be meant here.
  return info.ssi_code <= 0;
}

Result<SignalQueue> SignalQueue::create(sigset_t* before) {
  sigset_t taken;
  ::sigemptyset(&taken);
  for (const int signal : kTaken) ::sigaddset(&taken, signal);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &taken, before); code != 0)
    return fail(code, "pthread_sigmask");
  Fd fd(::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return errno_fail("signalfd");
  return SignalQueue(std::move(fd));
}

std::optional<signalfd_siginfo> SignalQueue::read_one() {
  signalfd_siginfo info = {};
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  return info;
}

std::optional<int> SignalQueue::next() {
  while (const auto info = read_one()) {
    if (is_for_the_command(*info)) return static_cast<int>(info->ssi_signo);
  }
  return std::nullopt;
}

std::optional<int> SignalQueue::next_interruption() {
  while (const auto info = read_one()) {
    const int signal = static_cast<int>(info->ssi_signo);
    // What the caller has ignored (nohup, a background job of a shell without job control) stays ignored.
    struct sigaction action = {};
    ::sigaction(signal, nullptr, &action);
    if (contains(kInterruptions, signal) && action.sa_handler != SIG_IGN) return signal;
  }
  return std::nullopt;
}

void stop_self(int signal) {
  if (signal != SIGSTOP && signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU) return;
  if (signal == SIGSTOP) {
    ::kill(::getpid(), SIGSTOP);
    return;
  }
  // Unblocked in this thread alone, the signal is taken here and stops all threads.
  struct sigaction kept = {}, stop = {};
  stop.sa_handler = SIG_DFL;
  ::sigaction(signal, &stop, &kept);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_kill(::pthread_self(), signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::sigaction(signal, &kept, nullptr);
}

void die_of(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_kill(::pthread_self(), signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  _exit(128 + signal);
}

Terminal::Terminal() : fd_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}

void Terminal::command_stopped(int command_pidfd) {
  const auto command = sys::pid_of_pidfd(command_pidfd);
  if (!fd_.valid() || !command) return;
  const pid_t group = ::getpgid(*command);
  if (group > 0 && group != ::getpgrp() && ::tcgetpgrp(fd_.get()) == group) lent_to_ = group;
}

void Terminal::command_continues() {
  if (lent_to_ < 0 || ::tcgetpgrp(fd_.get()) != ::getpgrp()) return;
  ::tcsetpgrp(fd_.get(), lent_to_);
}

void Terminal::take_back() {
  if (!fd_.valid()) return;
  const pid_t foreground = ::tcgetpgrp(fd_.get());
  if (foreground < 0 || foreground == ::getpgrp()) return;
  // A living group is another job of the shell outside: the terminal is its.
  if (foreground > 0 && (::kill(-foreground, 0) == 0 || errno != ESRCH)) return;
  ::tcsetpgrp(fd_.get(), ::getpgrp());  // SIGTTOU is blocked: allowed from the background
}

}  // namespace loopfs::sandbox
