#include "mounter/image.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "mounter/mount_plan.h"
#include "mounter/probe.h"
#include "sys/child.h"
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

// In a child that has entered the caller's namespaces.
Result<sys::ChildReport> on_callers_side(const Request& request, const CallerSide& caller,
                                         const std::function<Result<sys::ChildReport>(int kept)>& act) {
  auto seen = sys::in_child(sys::kForEver, [&](int kept) -> Result<sys::ChildReport> {
    auto entered = caller.enter();
    return entered ? act(kept) : propagate(entered);
  });
  if (!seen) return fail(seen.error().code, "'{}'", request.path);
  return seen;
}

Result<sys::ChildReport> open_device(const Request& request, const CallerSide& caller, int kept) {
  if (auto joined = join_pid_namespace(caller.fd(kPidNamespace), kept); !joined) return propagate(joined);
  const int mode = request.read_only ? O_RDONLY : O_RDWR;
  sys::ChildReport device{.fd = Fd(::open(request.device_path.c_str(), mode | O_CLOEXEC | O_NONBLOCK))};
  if (!device.fd.valid()) return errno_fail("open '{}'", request.device_path);
  struct stat status;
  if (::fstat(device.fd.get(), &status) != 0) return errno_fail("fstat '{}'", request.device_path);
  // The name may lead elsewhere by now.
  if (!S_ISREG(status.st_mode) || status.st_dev != request.image_device ||
      status.st_ino != request.image_inode) {
    return fail(EAGAIN, "open '{}'", request.device_path);
  }
  device.value = static_cast<uint64_t>(status.st_size);
  return device;
}

}  // namespace

Result<Image> open_image(const Request& request, const CallerSide& caller) {
  Image image{.fd = caller.fd(kImage), .offset = request.offset, .size = request.size};
  if (request.device_path.empty()) return image;
  // The size too: an instance answers nobody outside of its user namespace.
  auto opened =
      on_callers_side(request, caller, [&](int kept) { return open_device(request, caller, kept); });
  if (!opened) return propagate(opened);
  image.own = std::move(opened->fd);
  image.fd = image.own.get();
  image.size = opened->value;
  return image;
}

Result<void> check_image(const Request& request, const CallerSide& caller, const Image& image) {
  auto probed = on_callers_side(request, caller, [&](int) -> Result<sys::ChildReport> {
    const rlimit memory{512u << 20, 512u << 20};
    ::setrlimit(RLIMIT_AS, &memory);
    ::alarm(kSecondsToStart);
    auto found = probe_filesystem(image.fd, image.offset, image.size);
    if (!found) return propagate(found);
    if (!type_accepts(request.asked_type, *found)) return fail(EINVAL, "found {}", *found);
    auto target = caller.open_target();  // ENOENT before a program is started for nothing
    if (!target) return propagate(target);
    return sys::ChildReport();
  });
  if (!probed) return propagate(probed);
  return {};
}

}  // namespace loopfs::mounter
