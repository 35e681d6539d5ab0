#include "mounter/image.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "mounter/mount_plan.h"
#include "mounter/probe.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace loopfs::mounter {
namespace {

// Goes on as a process of the caller's pid namespace. The server of an inner sandbox's instance sees no
// others, and could not tell an open from a stat. A caller in a user namespace below the one that owns its
// pid namespace lends no right to enter that; then it is not in an inner sandbox's, and ours sees us as we
// are. The sandbox's root can see us there, and trace us: nothing but `kept` is left for it to take.
Result<void> join_pid_namespace(int pid_namespace, int kept) {
  if (auto entered = sys::enter_namespaces(pid_namespace, CLONE_NEWPID); !entered) return {};
  if (auto closed = sys::close_all_except(kept); !closed) return closed;
  const pid_t child = ::fork();
  if (child < 0) return errno_fail("fork");
  if (child == 0) return sys::die_with_parent();
  ::waitpid(child, nullptr, 0);
  ::_exit(0);
}

struct Seen {
  Fd fd;              // may be none
  uint64_t size = 0;  // bytes
};

// Runs `act` in a child that has entered the caller's namespaces; what it has seen there.
template <typename Act>
Result<Seen> in_child(const Request& request, const CallerSide& caller, Act act) {
  struct Header {
    int code;
    uint64_t size;
  };
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  const pid_t child = ::fork();
  if (child < 0) return errno_fail("fork");
  if (child == 0) {
    (void)sys::die_with_parent();
    auto entered = caller.enter();
    const Result<Seen> seen = entered ? act(ends->second.get()) : Result<Seen>(propagate(entered));
    const Header header{seen ? 0 : std::max(seen.error().code, 1), seen ? seen->size : 0};
    const int fds[] = {seen ? seen->fd.get() : -1};
    (void)sys::send_message(ends->second.get(), std::as_bytes(std::span(&header, 1)),
                            std::span(fds, fds[0] >= 0 ? 1u : 0u));
    ::_exit(0);
  }
  ends->second.reset();
  auto message = sys::receive_message(ends->first.get());
  ::waitpid(child, nullptr, 0);
  if (!message) return propagate(message);
  if (!*message || (*message)->bytes.size() != sizeof(Header)) return fail(EIO, "look at the image");
  Header header;
  std::memcpy(&header, (*message)->bytes.data(), sizeof header);
  if (header.code != 0) return fail(header.code, "'{}'", request.path);
  Seen seen{.size = header.size};
  if (!(*message)->fds.empty()) seen.fd = std::move((*message)->fds.front());
  return seen;
}

Result<Seen> open_device(const Request& request, const CallerSide& caller, int socket) {
  if (auto joined = join_pid_namespace(caller.fd(kPidNamespace), socket); !joined) return propagate(joined);
  const int mode = request.read_only ? O_RDONLY : O_RDWR;
  Seen device{.fd = Fd(::open(request.device_path.c_str(), mode | O_CLOEXEC | O_NONBLOCK))};
  if (!device.fd.valid()) return errno_fail("open '{}'", request.device_path);
  struct stat status;
  if (::fstat(device.fd.get(), &status) != 0) return errno_fail("fstat '{}'", request.device_path);
  // The name may lead elsewhere by now.
  if (!S_ISREG(status.st_mode) || status.st_dev != request.image_device ||
      status.st_ino != request.image_inode) {
    return fail(EAGAIN, "open '{}'", request.device_path);
  }
  device.size = static_cast<uint64_t>(status.st_size);
  return device;
}

}  // namespace

Result<Image> open_image(const Request& request, const CallerSide& caller) {
  Image image{.fd = caller.fd(kImage), .offset = request.offset, .size = request.size};
  if (request.device_path.empty()) return image;
  // The size too: an instance answers nobody outside of its user namespace.
  auto opened = in_child(request, caller, [&](int socket) { return open_device(request, caller, socket); });
  if (!opened) return propagate(opened);
  image.own = std::move(opened->fd);
  image.fd = image.own.get();
  image.size = opened->size;
  return image;
}

Result<void> check_image(const Request& request, const CallerSide& caller, const Image& image) {
  auto probed = in_child(request, caller, [&](int) -> Result<Seen> {
    const rlimit memory{512u << 20, 512u << 20};
    ::setrlimit(RLIMIT_AS, &memory);
    ::alarm(kSecondsToStart);
    auto found = probe_filesystem(image.fd, image.offset, image.size);
    if (!found) return propagate(found);
    if (!type_accepts(request.asked_type, *found)) return fail(EINVAL, "found {}", *found);
    auto target = caller.open_target();  // ENOENT before a program is started for nothing
    if (!target) return propagate(target);
    return Seen();
  });
  if (!probed) return propagate(probed);
  return {};
}

}  // namespace loopfs::mounter
