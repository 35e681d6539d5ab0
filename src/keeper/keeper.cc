#include "keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "keeper/closer.h"
#include "keeper/launcher.h"
#include "keeper/notify.h"
#include "keeper/records.h"
#include "keeper/wire.h"
#include "sys/message.h"
#include "sys/process.h"

namespace loopfs::keeper {
namespace {

using Clock = std::chrono::steady_clock;
using Duration = Bounds::Duration;

// For a message on its way, both ends of a new socket, and what else the process needs for a moment.
constexpr size_t kSpareFds = 24;
// For those that are being closed, so that what is dropped makes room at once.
constexpr size_t kClosingFds = 40;

// How often a look is taken whether the server's first thread still is there.
constexpr Duration kLook{2000}, kLookAtTheEnd{100};

// Blocks all signals but those that say that this program is wrong or that it is to pause, and returns where
// the ones come out that mean something. SIGPIPE is among the blocked: a report to nobody must not end us.
Result<Fd> take_signals(sigset_t* before) {
  ::signal(SIGCHLD, SIG_DFL);  // may be ignored, and then nobody is told
  sigset_t blocked;
  ::sigfillset(&blocked);
  for (const int signal :
       {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGTSTP, SIGTTIN, SIGTTOU})
    ::sigdelset(&blocked, signal);
  if (::sigprocmask(SIG_SETMASK, &blocked, before) != 0) return errno_fail("sigprocmask");
  sigset_t taken;
  ::sigemptyset(&taken);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD}) ::sigaddset(&taken, signal);
  Fd fd(::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return errno_fail("signalfd");
  return fd;
}

int exit_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string how_it_ended(int status) {
  if (WIFEXITED(status)) return fmt::format("exited with status {}", WEXITSTATUS(status));
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return fmt::format("was killed by SIG{}", name ? name : "?");
}

class Keeper {
 public:
  Keeper(Options& options, Fd signals, Launcher launcher)
      : options_(options), signals_(std::move(signals)), launcher_(std::move(launcher)) {}

  Result<void> keep_inherited();
  int run();

 private:
  void report(const std::string& line) const {
    if (options_.report) options_.report(line);
  }
  int poll_timeout() const;
  void act_on_deadline();
  void look_at_leader();

  void start_server();
  void take_events();
  void stop(int signal);
  void replace();
  void reap();
  void server_ended(int status);
  void start_again(int status);

  bool serve_one();
  void answer(const Note& note, std::span<const int> fds = {});
  void flush();
  Result<void> perform(const Note& request, std::vector<Fd>& fds);
  size_t most_fds() const;

  Options& options_;
  const Fd signals_;
  Launcher launcher_;
  const Notifier notifier_ = Notifier::from_environment();
  Closer closer_;
  Records records_;
  std::optional<int> result_;  // of run()

  pid_t pid_ = 0;           // of the server; 0: none
  bool killed_ = false;     // it is waited for no longer than until deadline_
  bool by_itself_ = false;  // its first thread has ended, and was not killed by us
  Fd socket_;               // our end
  Clock::time_point started_;
  bool ever_spoke_ = false;  // one of the servers has sent a request
  bool ever_ready_ = false;  // one of them has been ready
  Duration pause_{0};        // before the next start if the server dies early
  bool stopping_ = false;
  bool replacing_ = false;
  // With a server: when it is killed. Without: when the next is started.
  std::optional<Clock::time_point> deadline_;

  // An answer that found no room in the socket: requests wait until it is sent, so that its fds stay open.
  struct Pending {
    std::vector<std::byte> bytes;
    std::vector<int> fds;
  };
  std::optional<Pending> pending_;
};

Result<void> Keeper::keep_inherited() {
  if (options_.inherited.empty()) return {};
  Item item{kListenItem, {}, {}};
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const Fd& fd : options_.inherited) {
    item.fds.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, launcher_.number() + 1));
    if (!item.fds.back().valid()) return errno_fail("duplicate an inherited descriptor");
    // The number stays taken: no descriptor that comes later may have one below the launcher's.
    if (::dup3(null.get(), fd.get(), O_CLOEXEC) < 0) return errno_fail("replace an inherited descriptor");
  }
  return records_.put(item, most_fds());
}

size_t Keeper::most_fds() const {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const size_t closing = std::max(kClosingFds, closer_.backlog());
  const size_t used = kSpareFds + closing + static_cast<size_t>(launcher_.number());
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

int Keeper::run() {
  start_server();
  while (!result_) {
    pollfd watched[] = {
        {signals_.get(), POLLIN, 0},
        {socket_.valid() ? socket_.get() : -1, static_cast<short>(pending_ ? POLLOUT : POLLIN), 0}};
    if (::poll(watched, 2, poll_timeout()) < 0 && errno != EINTR) {
      report("poll: " + std::string(::strerror(errno)));
      return 1;
    }
    if (watched[1].revents != 0) {
      if (pending_) {
        flush();
      } else {
        serve_one();
      }
    }
    if (watched[0].revents != 0) take_events();
    look_at_leader();
    if (!result_) act_on_deadline();
  }
  return *result_;
}

int Keeper::poll_timeout() const {
  const Duration look = deadline_ ? kLookAtTheEnd : kLook;
  if (!deadline_) return pid_ == 0 ? -1 : static_cast<int>(look.count());
  const auto left = std::chrono::ceil<Duration>(*deadline_ - Clock::now());
  return static_cast<int>(std::clamp(left, Duration(0), look).count());
}

void Keeper::act_on_deadline() {
  if (!deadline_ || Clock::now() < *deadline_) return;
  deadline_.reset();
  if (pid_ == 0) {
    start_server();
  } else if (!killed_) {
    report("the server does not end: it is killed");
    ::kill(pid_, SIGKILL);
    killed_ = true;
    deadline_ = Clock::now() + options_.bounds.last_patience;
  } else {
    // A thread of it hangs in a file system that does not answer.
    report("the server hangs in the kernel and does not end: it is left behind");
    server_ended(by_itself_ ? 0 : SIGKILL);
  }
}

// The first thread of the server can end while another hangs in the kernel, so that the process does not, and nobody is
// told: not by SIGCHLD, nor, on newer kernels, by a pidfd of the thread.
void Keeper::look_at_leader() {
  if (pid_ == 0 || killed_ || !sys::is_zombie(pid_)) return;
  killed_ = by_itself_ = true;
  deadline_ = Clock::now() + options_.bounds.last_patience;
}

void Keeper::start_server() {
  started_ = Clock::now();
  auto ends = sys::socket_pair();
  auto pid = ends ? launcher_.start(ends->second) : Result<pid_t>(propagate(ends));
  if (!pid) {
    report(fmt::format("{}: tried again in {} ms", pid.error().message(),
                       options_.bounds.longest_pause.count()));
    deadline_ = Clock::now() + options_.bounds.longest_pause;
    return;
  }
  pid_ = *pid;
  killed_ = by_itself_ = false;
  socket_ = std::move(ends->first);
  ::fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
}

// --- Signals ---

void Keeper::take_events() {
  // In the order of their numbers, so that SIGCHLD comes last, after the reason of the server's end.
  signalfd_siginfo info;
  bool child_ended = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) {
      child_ended = true;
    } else if (info.ssi_signo == SIGHUP) {
      replace();
    } else {
      stop(static_cast<int>(info.ssi_signo));
    }
  }
  if (child_ended) reap();
}

void Keeper::stop(int signal) {
  if (pid_ == 0) {
    result_ = 0;
  } else if (stopping_) {
    report("told to stop again: the server is killed");
    ::kill(pid_, SIGKILL);
  } else {
    ::kill(pid_, signal);
    deadline_ = Clock::now() + options_.bounds.patience;
  }
  if (!stopping_) notifier_.send("STOPPING=1");
  stopping_ = true;
}

void Keeper::replace() {
  if (stopping_ || replacing_) return;
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch());
  notifier_.send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.count()));
  if (pid_ == 0) {
    deadline_ = Clock::now();
    return;
  }
  report("the server is replaced");
  replacing_ = true;
  ::kill(pid_, SIGUSR1);
  deadline_ = Clock::now() + options_.bounds.patience;
}

void Keeper::reap() {
  // All children: as pid 1 of a container, the keeper inherits those of others.
  int status;
  while (const pid_t pid = ::waitpid(-1, &status, WNOHANG)) {
    if (pid < 0) return;
    if (pid == pid_) server_ended(status);
  }
}

void Keeper::server_ended(int status) {
  // What it had sent counts. Its forked children may have the socket, too: no endless loop for them.
  for (int i = 0; i < 256 && serve_one(); ++i) pending_.reset();
  pending_.reset();
  socket_.reset();
  pid_ = 0;
  deadline_.reset();
  const int code = exit_code(status);
  if (stopping_) {
    result_ = code;
    if (code != 0) report(fmt::format("the server {}", how_it_ended(status)));
  } else if (!ever_spoke_ && (code == Launcher::kNoProgram || code == Launcher::kCannotExecute)) {
    result_ = code;  // a wrong command, and nothing is kept yet
  } else if (!ever_ready_ && code == kGiveUpStatus) {
    result_ = code;
  } else {
    start_again(status);
  }
}

void Keeper::start_again(int status) {
  const auto life = Clock::now() - started_;
  const bool asked = std::exchange(replacing_, false);
  // A server may ask for a new one by itself; one that does nothing else must not keep the machine busy.
  if (asked || (exit_code(status) == kReplaceStatus && life >= std::chrono::seconds(1))) {
    if (exit_code(status) != kReplaceStatus) report(fmt::format("the server {}", how_it_ended(status)));
    pause_ = Duration(0);
    return start_server();
  }
  const Bounds& bounds = options_.bounds;
  if (life >= bounds.long_life) pause_ = Duration(0);
  const Duration pause = pause_;
  pause_ = std::min(bounds.longest_pause, std::max(bounds.first_pause, 2 * pause));
  report(fmt::format("the server {}: started again{}", how_it_ended(status),
                     pause.count() ? fmt::format(" in {} ms", pause.count()) : ""));
  if (pause == Duration(0)) return start_server();
  deadline_ = Clock::now() + pause;
}

// --- Requests ---

// False: there is no request, or no server to make one.
bool Keeper::serve_one() {
  if (!socket_.valid()) return false;
  auto message = sys::receive_message(socket_.get());
  if (!message) {
    if (message.error().code == EAGAIN) return false;
    // It ended with an answer unread; what it had asked after that is still there.
    if (message.error().code == ECONNRESET) return true;
    if (message.error().code != EMSGSIZE) {
      socket_.reset();
      return false;
    }
    answer({Act::kAnswer, EMSGSIZE, {}});
    return true;
  }
  if (!*message) {
    // The other end is closed, or this is an empty message.
    pollfd state{socket_.get(), 0, 0};
    if (::poll(&state, 1, 0) != 0) {
      socket_.reset();
      return false;
    }
    answer({Act::kAnswer, EPROTO, {}});
    return true;
  }
  ever_spoke_ = true;
  const auto request = parse((*message)->bytes);
  std::vector<Fd>& fds = (*message)->fds;
  if (request && request->act == Act::kLoad && request->records.size() == 1) {
    const Records::Batch batch = records_.after(request->records[0].name);
    answer({Act::kAnswer, 0, batch.records}, batch.fds);
  } else {
    const auto done = request ? perform(*request, fds) : Result<void>(propagate(request));
    answer({Act::kAnswer, done ? 0 : done.error().code, {}});
  }
  closer_.close(std::move(fds));
  return true;
}

// All but kLoad. Leaves in `fds` what is to be closed.
Result<void> Keeper::perform(const Note& request, std::vector<Fd>& fds) {
  if (request.records.size() != 1) return fail(EPROTO, "a request with {} records", request.records.size());
  const Record& record = request.records[0];
  if (record.fds != fds.size()) return fail(EPROTO, "a request with {} descriptors", fds.size());
  switch (request.act) {
    case Act::kPut: {
      Item item{std::string(record.name), std::string(record.payload), std::move(fds)};
      auto done = records_.put(item, most_fds());
      fds = std::move(item.fds);
      return done;
    }
    case Act::kSetPayload:
      return records_.set_payload(record.name, record.payload);
    case Act::kDrop: {
      auto dropped = records_.drop(record.name);
      if (!dropped) return propagate(dropped);
      for (Fd& fd : *dropped) fds.push_back(std::move(fd));
      return {};
    }
    case Act::kDropNow: {
      // Another has the same files open, the server says: closing them does not block.
      auto dropped = records_.drop(record.name);
      if (!dropped) return propagate(dropped);
      return {};
    }
    case Act::kReady:
      if (!std::exchange(ever_ready_, true) && options_.ready) options_.ready();
      notifier_.send(fmt::format("READY=1\nMAINPID={}", ::getpid()));
      return {};
    default:
      return fail(EPROTO, "request {}", static_cast<uint32_t>(request.act));
  }
}

void Keeper::answer(const Note& note, std::span<const int> fds) {
  pending_ = Pending{encode(note), {fds.begin(), fds.end()}};
  flush();
}

void Keeper::flush() {
  const auto sent = sys::send_message(socket_.get(), pending_->bytes, pending_->fds);
  if (!sent && sent.error().code == EAGAIN) return;
  const bool retry = !sent && sent.error().code != EPIPE && !pending_->fds.empty();
  pending_.reset();
  // The kernel refuses the descriptors, as with ETOOMANYREFS.
  if (retry) answer({Act::kAnswer, sent.error().code, {}});
}

Result<void> write_pid_file(const std::string& path) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_fail("open '{}'", path);
  const std::string line = fmt::format("{}\n", ::getpid());
  if (::write(file.get(), line.data(), line.size()) < 0) return errno_fail("write '{}'", path);
  return {};
}

Result<int> run_keeper(Options& options) {
  sys::raise_descriptor_limit();
  sigset_t before;
  auto signals = take_signals(&before);
  if (!signals) return propagate(signals);
  auto launcher = Launcher::create(options.server_command, before);
  if (!launcher) return propagate(launcher);
  Keeper keeper(options, std::move(*signals), std::move(*launcher));
  if (auto kept = keeper.keep_inherited(); !kept) return propagate(kept);
  if (options.pid_file.empty()) return keeper.run();
  if (auto written = write_pid_file(options.pid_file); !written) return propagate(written);
  const int result = keeper.run();
  ::unlink(options.pid_file.c_str());
  return result;
}

}  // namespace

int run(Options options) {
  const auto result = run_keeper(options);
  if (result) return *result;
  if (options.report) options.report(result.error().message());
  return 1;
}

}  // namespace loopfs::keeper
