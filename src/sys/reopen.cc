#include "sys/reopen.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "sys/message.h"

namespace loopfs::sys {
namespace {

int open_again(int fd, int flags) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

// In the child of a process with many threads: nothing here may take a lock. Ends it with the errno.
[[noreturn]] void open_as_root_of(int user_namespace, int fd, int flags, int channel) {
  if (::setns(user_namespace, CLONE_NEWUSER) != 0) ::_exit(errno);
  const int opened = open_again(fd, flags);
  if (opened < 0) ::_exit(errno);
  const std::byte one{1};
  const bool sent = send_message(channel, std::span(&one, 1), std::span(&opened, 1)).has_value();
  ::_exit(sent ? 0 : EIO);
}

// setns(2) to a user namespace wants a process with one thread.
Result<Fd> reopen_in_namespace(int fd, int flags, int user_namespace) {
  auto channel = socket_pair();
  if (!channel) return propagate(channel);
  // No exit signal: nobody who waits for any child of this process gets this one.
  const long child = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0);
  if (child < 0) return errno_fail("fork");
  if (child == 0) open_as_root_of(user_namespace, fd, flags, channel->second.get());
  channel->second.reset();
  auto message = receive_message(channel->first.get(), 16);
  int status = 0;
  while (::waitpid(static_cast<pid_t>(child), &status, __WALL) < 0 && errno == EINTR) {
  }
  if (!message) return propagate(message);
  if (*message && (*message)->fds.size() == 1) return std::move((*message)->fds[0]);
  const int code = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EIO;
  return fail(code, "open a file again in the user namespace");
}

}  // namespace

Result<Fd> reopen(int fd, int flags, int user_namespace) {
  Fd opened(open_again(fd, flags));
  if (!opened.valid()) {
    if (errno != EACCES || user_namespace < 0) return errno_fail("open a file again");
    auto other = reopen_in_namespace(fd, flags, user_namespace);
    if (!other) return other;
    opened = std::move(*other);
  }
  // O_NONBLOCK was against files that block in open(2); it says nothing on a file for I/O.
  const int kept = ::fcntl(opened.get(), F_GETFL);
  if (kept < 0 || ::fcntl(opened.get(), F_SETFL, kept & ~O_NONBLOCK) != 0) return errno_fail("fcntl");
  return opened;
}

}  // namespace loopfs::sys
