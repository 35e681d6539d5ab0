#include "mounter/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "mounter/worker.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"

namespace loopfs::mounter {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostWorkers = 64;

// The agent's own side. Single-threaded; all its state is here.
class AgentProcess {
 public:
  explicit AgentProcess(Fd socket) : socket_(std::move(socket)) {}

  [[noreturn]] void run() {
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    signals_ = Fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
    for (bool open = true; open;) {
      pollfd waits[] = {{socket_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0) continue;
      reap();
      if (waits[0].revents != 0) open = serve();
    }
    finish();
    ::_exit(0);
  }

 private:
  void drain_signals() {
    signalfd_siginfo information;
    while (::read(signals_.get(), &information, sizeof information) > 0) {
    }
  }

  // Workers, and FUSE programs, which are our children too.
  void reap() {
    drain_signals();
    for (pid_t pid; (pid = ::waitpid(-1, nullptr, WNOHANG)) > 0;) workers_.erase(pid);
  }

  // One message. False: the owner is gone.
  bool serve() {
    auto message = sys::receive_message(socket_.get());
    if (!message) return message.error().code == EMSGSIZE;
    if (!*message) return false;
    if ((*message)->bytes.empty()) {
      if (!(*message)->fds.empty()) init_ = std::move((*message)->fds.front());
      return true;
    }
    auto request = decode_request((*message)->bytes);
    if (!request || workers_.size() >= kMostWorkers) return true;  // its socket closes: EIO
    const pid_t worker = ::fork();
    if (worker < 0) return true;
    if (worker == 0) work(*request, std::move((*message)->fds));
    workers_.insert(worker);
    return true;
  }

  [[noreturn]] void work(const Request& request, std::vector<Fd> fds) {
    (void)sys::die_with_parent();
    socket_.reset();
    signals_.reset();
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    serve_request(request, std::move(fds));
    ::_exit(0);
  }

  // The end: first the sandbox, whose mounts go with it, then whoever still works on them.
  void finish() {
    if (init_.valid()) (void)sys::send_signal(init_.get(), SIGKILL);
    for (const pid_t worker : workers_) ::kill(worker, SIGKILL);  // ours and not yet reaped
    const auto deadline = Clock::now() + std::chrono::seconds(Agent::kSecondsToFinish);
    for (;;) {
      drain_signals();
      pid_t pid;
      while ((pid = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
      }
      if (pid < 0) return;  // no child is left
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return;  // the rest dies with us
      pollfd wait{signals_.get(), POLLIN, 0};
      (void)::poll(&wait, 1, static_cast<int>(left));
    }
  }

  Fd socket_;
  Fd signals_;
  Fd init_;
  std::set<pid_t> workers_;
};

// Out of the user's terminal and session: no Ctrl-C reaches the FUSE programs, and no pipe is kept open.
void detach() {
  ::setsid();
  ::prctl(PR_SET_NAME, "loopfs-agent");
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int standard = 0; standard < 3; ++standard) ::dup2(null.get(), standard);
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::start() {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid == 0) {
    ends->first.reset();
    detach();
    AgentProcess(std::move(ends->second)).run();
  }
  return std::unique_ptr<Agent>(new Agent(pid, std::move(ends->first)));
}

Agent::~Agent() {
  stop();
}

Result<void> Agent::set_init(int pidfd) {
  const int fds[] = {pidfd};
  const std::lock_guard lock(mutex_);
  return sys::send_message(socket_.get(), {}, fds);
}

Result<Agent::Answer> Agent::ask(const Request& request, const std::vector<int>& fds) {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  std::vector<int> all{ends->second.get()};
  all.insert(all.end(), fds.begin(), fds.end());
  {
    const std::lock_guard lock(mutex_);
    if (auto sent = sys::send_message(socket_.get(), encode(request), all); !sent) return propagate(sent);
  }
  ends->second.reset();
  auto message = sys::receive_message(ends->first.get());
  if (!message) return propagate(message);
  if (!*message) return fail(EIO, "the worker for '{}' died", request.path);
  auto reply = decode_reply((*message)->bytes);
  if (!reply) return propagate(reply);
  return Answer{std::move(*reply), std::move((*message)->fds)};
}

void Agent::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (!socket_.valid()) return;
    socket_.reset();
  }
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace loopfs::mounter
