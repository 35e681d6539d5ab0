#include "sys/seccomp.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/uapi.h"

namespace loopfs::sys {
namespace {

// The kernel may be newer and write more than our headers know: it wants a zeroed buffer of its own size.
seccomp_notif_sizes notification_sizes() {
  seccomp_notif_sizes sizes{};
  if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) {
    sizes.seccomp_notif = sizeof(seccomp_notif);
    sizes.seccomp_notif_resp = sizeof(seccomp_notif_resp);
  }
  return sizes;
}

Result<void> respond(int listener, const seccomp_notif_resp& response) {
  alignas(seccomp_notif_resp) std::array<std::byte, 512> buffer{};
  *reinterpret_cast<seccomp_notif_resp*>(buffer.data()) = response;
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, buffer.data()) == 0 || errno == ENOENT) return {};
  return errno_fail("SECCOMP_IOCTL_NOTIF_SEND");
}

}  // namespace

Result<Fd> install_filter_with_listener(const sock_fprog& program) {
  const unsigned long base = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  for (const unsigned long flags : {base | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, base}) {
    Fd listener(static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)));
    if (listener.valid()) return listener;
    if (errno != EINVAL) break;
  }
  return errno_fail("seccomp: install a filter with a listener");
}

Result<std::optional<Notification>> receive_notification(int listener) {
  static const seccomp_notif_sizes sizes = notification_sizes();
  alignas(seccomp_notif) std::array<std::byte, 1024> buffer{};
  if (sizes.seccomp_notif > buffer.size()) return fail(E2BIG, "SECCOMP_IOCTL_NOTIF_RECV");
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, buffer.data()) != 0) {
    if (errno == ENOENT || errno == EINTR) return std::nullopt;
    return errno_fail("SECCOMP_IOCTL_NOTIF_RECV");
  }
  const auto& received = *reinterpret_cast<const seccomp_notif*>(buffer.data());
  Notification notification;
  notification.id = received.id;
  notification.tid = static_cast<pid_t>(received.pid);
  notification.number = received.data.nr;
  notification.architecture = received.data.arch;
  std::copy(std::begin(received.data.args), std::end(received.data.args), notification.arguments.begin());
  return notification;
}

bool notification_valid(int listener, uint64_t id) {
  return ::ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

Result<void> answer_notification(int listener, uint64_t id, const CallResult& result) {
  seccomp_notif_resp response{};
  response.id = id;
  response.error = -result.error;
  response.val = result.error == 0 ? result.value : 0;
  return respond(listener, response);
}

Result<void> replace_descriptor(int listener, uint64_t id, int own_fd, int number, bool close_on_exec) {
  seccomp_notif_addfd request{};
  request.id = id;
  request.flags = SECCOMP_ADDFD_FLAG_SETFD;
  request.srcfd = static_cast<uint32_t>(own_fd);
  request.newfd = static_cast<uint32_t>(number);
  request.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &request) < 0)
    return errno_fail("SECCOMP_IOCTL_NOTIF_ADDFD");
  return {};
}

Result<void> continue_notification(int listener, uint64_t id) {
  seccomp_notif_resp response{};
  response.id = id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  return respond(listener, response);
}

}  // namespace loopfs::sys
