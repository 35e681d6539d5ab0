#include "sys/reopen.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "sys/message.h"

namespace loopfs::sys {
namespace {

int open_again(int fd, int flags) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

// What to do with the rights of root in the namespace: sends one message, or returns an errno. In the child
// of a process with many threads: nothing in there may take a lock or allocate memory.
using Act = int (*)(int fd, int flags, int channel);

int send_reopened(int fd, int flags, int channel) {
  const int opened = open_again(fd, flags);
  if (opened < 0) return errno;
  const std::byte one{1};
  return send_message(channel, std::span(&one, 1), std::span(&opened, 1)) ? 0 : EIO;
}

int send_stat(int fd, int, int channel) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return errno;
  return send_message(channel, std::as_bytes(std::span(&status, 1))) ? 0 : EIO;
}

// setns(2) to a user namespace wants a process with one thread.
Result<Message> act_in_namespace(Act act, int fd, int flags, int user_namespace) {
  auto channel = socket_pair();
  if (!channel) return propagate(channel);
  // No exit signal: nobody who waits for any child of this process gets this one.
  const long child = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0);
  if (child < 0) return errno_fail("fork");
  if (child == 0) {
    if (::setns(user_namespace, CLONE_NEWUSER) != 0) ::_exit(errno);
    ::_exit(act(fd, flags, channel->second.get()));
  }
  channel->second.reset();
  auto message = receive_message(channel->first.get(), 1024);
  int status = 0;
  while (::waitpid(static_cast<pid_t>(child), &status, __WALL) < 0 && errno == EINTR) {
  }
  if (!message) return propagate(message);
  if (*message) return std::move(**message);
  const int code = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EIO;
  return fail(code, "use a file by the rights of the user namespace");
}

}  // namespace

Result<Fd> reopen(int fd, int flags, int user_namespace) {
  Fd opened(open_again(fd, flags));
  if (!opened.valid()) {
    if (errno != EACCES || user_namespace < 0) return errno_fail("open a file again");
    auto other = act_in_namespace(send_reopened, fd, flags, user_namespace);
    if (!other) return propagate(other);
    if (other->fds.size() != 1) return fail(EIO, "open a file again");
    opened = std::move(other->fds[0]);
  }
  // O_NONBLOCK was against files that block in open(2); it says nothing on a file for I/O.
  const int kept = ::fcntl(opened.get(), F_GETFL);
  if (kept < 0 || ::fcntl(opened.get(), F_SETFL, kept & ~O_NONBLOCK) != 0) return errno_fail("fcntl");
  return opened;
}

Result<struct stat> stat_of_fd(int fd, int user_namespace) {
  struct stat status = {};
  if (::fstat(fd, &status) == 0) return status;
  if (errno != EACCES || user_namespace < 0) return errno_fail("fstat");
  auto other = act_in_namespace(send_stat, fd, 0, user_namespace);
  if (!other) return propagate(other);
  if (other->bytes.size() != sizeof status) return fail(EIO, "fstat");
  std::memcpy(&status, other->bytes.data(), sizeof status);
  return status;
}

}  // namespace loopfs::sys
