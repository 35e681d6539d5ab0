#include "porter/fork_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>

#include "porter/porter.h"
#include "sys/message.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/process.h"

namespace loopfs::porter {
namespace {

constexpr std::byte kFork{'f'}, kForked{'+'}, kNotForked{'-'};

[[noreturn]] void be_porter(const Fd& socket, pid_t parent) {
  ::prctl(PR_SET_NAME, "loopfsd-porter");
  if (!sys::die_with_parent() || ::getppid() != parent || !sys::close_all_except(socket.get())) ::_exit(1);
  serve(socket.get());
  ::_exit(0);
}

// One porter; its socket and pidfd. Errors: those of fork(2).
Result<std::pair<Fd, Fd>> make_porter() {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid == 0) be_porter(ends->second, self);
  auto pidfd = sys::pidfd_of_process(pid);
  if (!pidfd) return propagate(pidfd);
  return std::pair(std::move(ends->first), std::move(*pidfd));
}

[[noreturn]] void serve_forks(const Fd& socket, pid_t parent) {
  ::prctl(PR_SET_NAME, "loopfsd-forks");
  if (!sys::die_with_parent() || ::getppid() != parent || !sys::close_all_except(socket.get())) ::_exit(1);
  // Nobody asks how a porter has ended.
  ::signal(SIGCHLD, SIG_IGN);
  for (;;) {
    const auto request = sys::receive_message(socket.get());
    if (!request || !*request) ::_exit(0);
    const auto porter = make_porter();
    const std::byte answer = porter ? kForked : kNotForked;
    std::array<int, 2> fds{};
    if (porter) fds = {porter->first.get(), porter->second.get()};
    if (!sys::send_message(socket.get(), std::span(&answer, 1), std::span(fds).first(porter ? 2 : 0)))
      ::_exit(0);
  }
}

}  // namespace

Result<std::unique_ptr<ForkServer>> ForkServer::start() {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid == 0) serve_forks(ends->second, self);
  return std::unique_ptr<ForkServer>(new ForkServer(std::move(ends->first)));
}

Result<ForkServer::Child> ForkServer::fork() {
  const std::lock_guard lock(mutex_);
  if (auto sent = sys::send_message(socket_.get(), std::span(&kFork, 1)); !sent) return propagate(sent);
  auto answer = sys::receive_message(socket_.get());
  if (!answer) return propagate(answer);
  if (!*answer) return fail(EPIPE, "the fork server is gone");
  auto& fds = (*answer)->fds;
  if (fds.size() != 2) return fail(EAGAIN, "no process is to be had");
  return Child{std::move(fds[0]), std::move(fds[1])};
}

}  // namespace loopfs::porter
