#include "porter/kernel_mount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "sys/child.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"

namespace loopfs::porter {
namespace {

constexpr char kPlace[] = "/proc";  // a directory that every system has, and that nothing here needs
// What the sandbox may change of its mount.
constexpr uint64_t kUnlocked = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC;

using Parameters = std::vector<std::pair<std::string, std::string>>;

// Mount namespaces of its own are what the process is for: nothing that it mounts is seen elsewhere.
Result<void> leave_mount_namespace() {
  if (auto left = sys::unshare_namespaces(CLONE_NEWNS); !left) return left;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return errno_fail("make the mounts private");
  return {};
}

// The kernel looks the source up, and shows it as it was given.
Result<void> name_device(const KernelMount& wanted) {
  auto node = sys::clone_tree(AT_FDCWD, wanted.node, false);
  if (!node) return propagate(node);
  auto dev = sys::mount_virtual("tmpfs", {{"mode", "0755"}}, 0);
  if (!dev) return propagate(dev);
  if (auto attached = sys::attach_mount(dev->get(), AT_FDCWD, "/dev"); !attached) return attached;
  const Fd place(::open(wanted.source.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!place.valid()) return errno_fail("make '{}'", wanted.source);
  return sys::attach_mount(node->get(), AT_FDCWD, wanted.source);
}

Result<Fd> mount_device(const KernelMount& wanted, Parameters parameters, bool read_only,
                        uint64_t attributes) {
  parameters.insert(parameters.begin(), {"source", wanted.source});
  if (read_only) parameters.emplace_back("ro", "");
  return sys::mount_virtual(wanted.type, parameters, attributes);
}

// The kernel locks what a mount is when it copies it for a user namespace that has less rights than the one that mounted it.
Result<Fd> locked_for(int user_namespace, const Fd& mount) {
  if (auto attached = sys::attach_mount(mount.get(), AT_FDCWD, kPlace); !attached) return propagate(attached);
  if (auto entered = sys::enter_namespaces(user_namespace, CLONE_NEWUSER); !entered)
    return propagate(entered);
  // The change of rights has cleared it.
  if (auto bound = sys::die_with_parent(); !bound) return propagate(bound);
  if (auto copied = sys::unshare_namespaces(CLONE_NEWNS); !copied) return propagate(copied);
  return sys::clone_tree(AT_FDCWD, kPlace, false);
}

// Milliseconds to enter a user namespace and copy a mount, which asks no file system. Its owner can stop who is in there.
constexpr int kPatience = 5000;

// In a child, into which nobody looks who has rights in the user namespace that it enters.
template <typename Act>
Result<Fd> apart(const KernelMount& wanted, int patience, Act act) {
  auto made = sys::in_child(patience, [&](int) -> Result<sys::ChildReport> {
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return errno_fail("prctl");
    auto mount = act(wanted);
    if (!mount) return propagate(mount);
    return sys::ChildReport{.fd = std::move(*mount)};
  });
  if (!made) return propagate(made);
  return std::move(made->fd);
}

Result<Fd> mount_here(const KernelMount& wanted) {
  if (auto left = leave_mount_namespace(); !left) return propagate(left);
  if (auto named = name_device(wanted); !named) return propagate(named);
  const bool own = wanted.user_namespace < 0;
  auto mount = mount_device(wanted, wanted.parameters, wanted.read_only,
                            own ? wanted.attributes : wanted.attributes & ~kUnlocked);
  if (!mount || own) return mount;
  if (auto mapped = sys::map_mount(mount->get(), wanted.user_namespace); !mapped) {
    return fail(mapped.error().code == EINVAL ? EOPNOTSUPP : mapped.error().code, "{}: {}", wanted.type,
                mapped.error().what);
  }
  auto locked =
      apart(wanted, kPatience, [&](const KernelMount&) { return locked_for(wanted.user_namespace, *mount); });
  if (!locked) return locked;
  if (auto set = sys::set_mount_attributes(locked->get(), wanted.attributes & kUnlocked, 0, false); !set)
    return propagate(set);
  return locked;
}

Result<Fd> reconfigure_here(const KernelMount& wanted) {
  if (auto left = leave_mount_namespace(); !left) return propagate(left);
  if (auto named = name_device(wanted); !named) return propagate(named);
  // Nobody may have it mounted, and what its own superblock says of errors is the container's: it could ask for a panic.
  Parameters of_errors;
  std::ranges::copy_if(wanted.parameters, std::back_inserter(of_errors),
                       [](const auto& parameter) { return parameter.first == "errors"; });
  // The superblock that there is, if it is asked for as it is: EBUSY.
  auto mount = mount_device(wanted, of_errors, !wanted.read_only, 0);
  if (!mount && mount.error().code == EBUSY) mount = mount_device(wanted, of_errors, wanted.read_only, 0);
  if (!mount) return mount;
  Parameters parameters = wanted.parameters;
  parameters.emplace_back(wanted.read_only ? "ro" : "rw", "");
  if (auto done = sys::reconfigure_mount(mount->get(), parameters); !done) return propagate(done);
  return Fd();
}

}  // namespace

Result<Fd> make_kernel_mount(const KernelMount& wanted) {
  auto mount = apart(wanted, sys::kForEver, mount_here);
  if (mount && !mount->valid()) return fail(EIO, "mount {}", wanted.type);
  return mount;
}

Result<void> reconfigure_kernel_mount(const KernelMount& wanted) {
  auto done = apart(wanted, sys::kForEver, reconfigure_here);
  if (!done) return propagate(done);
  return {};
}

}  // namespace loopfs::porter
