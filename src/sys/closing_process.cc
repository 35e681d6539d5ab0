#include "sys/closing_process.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/control_message.h"
#include "sys/message.h"
#include "sys/process.h"

namespace loopfs::sys {
namespace {

constexpr std::byte kTake{1}, kClose{2};

// With `fd` if that is not below 0. False: no room, or nobody there.
bool tell(int channel, std::byte word, int fd) {
  iovec vector{&word, 1};
  ControlMessage<1> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (fd >= 0) control.attach(header, std::span(&fd, 1));
  ssize_t sent;
  do {
    sent = ::sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

// The child shares the descriptors, so that only one reference is left, and dropped by it.
void close_in_child(Fd fd) {
  const int number = fd.release();
  const long child = ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child != 0) return;  // without a child it stays open
  ::close(number);
  ::_exit(0);
}

[[noreturn]] void serve(const Fd& channel) {
  (void)close_all_except(channel.get());
  ::prctl(PR_SET_NAME, "loopfsd-closer");
  ::signal(SIGCHLD, SIG_IGN);
  Fd taken;
  for (;;) {
    auto message = receive_message(channel.get(), 1);
    if (!message || !*message) break;
    if ((*message)->bytes[0] == kTake && (*message)->fds.size() == 1)
      taken = std::move((*message)->fds.front());
    if ((*message)->bytes[0] == kClose && taken.valid()) close_in_child(std::move(taken));
  }
  ::_exit(0);
}

}  // namespace

Result<ClosingProcess> ClosingProcess::start() {
  auto ends = socket_pair();
  if (!ends) return propagate(ends);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid == 0) serve(ends->second);
  return ClosingProcess(std::move(ends->first));
}

void ClosingProcess::close(Fd fd) {
  const std::lock_guard lock(state_->mutex);
  if (!tell(state_->channel.get(), kTake, fd.get())) {
    (void)fd.release();
    return;
  }
  fd.reset();  // one reference is in the message
  (void)tell(state_->channel.get(), kClose, -1);
}

}  // namespace loopfs::sys
