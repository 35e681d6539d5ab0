#include "sandbox/setup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "sandbox/control.h"
#include "sandbox/dev_tree.h"
#include "sandbox/mount_state.h"
#include "sandbox/remedy.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"

namespace loopfs::sandbox {
namespace {

constexpr size_t kFdsInANote = 16;

Result<void> enter_new_namespaces(int control) {
  auto unshared = sys::unshare_namespaces(CLONE_NEWUSER | CLONE_NEWNS);
  if (!unshared) {
    auto failed = explained(std::move(unshared), Step::kUserNamespace);
    return propagate(failed, "make a user namespace");
  }
  if (auto sent = send_note(control, Act::kNamespaces); !sent) return sent;
  auto note = receive_note(control);
  if (!note) return propagate(note);
  if (!*note || (*note)->act != Act::kMapped) _exit(1);  // loopfs is gone or gives up
  if (auto root = explained(sys::become_root_of_namespace(), Step::kIdMaps); !root) return root;
  // The change of ids may have cleared it. If loopfs went in between, the next note finds nobody.
  return sys::die_with_parent();
}

Result<void> copy_bind_sources(InitialState& state) {
  for (const Bind& bind : state.options->binds) {
    auto mount = sys::clone_tree(AT_FDCWD, bind.source, true);
    if (!mount) return fail(mount.error().code, "bind '{}'", bind.source);
    struct stat status = {};
    if (::fstat(mount->get(), &status) != 0) return errno_fail("bind '{}'", bind.source);
    state.binds.push_back({bind, std::move(*mount), S_ISDIR(status.st_mode)});
  }
  return {};
}

// Every mount point of ours must be there: nothing is made in a tree of the user's.
Result<void> check_root(int root, const std::string& name) {
  for (const char* folder : {"/dev", "/proc", "/sys"}) {
    auto found = sys::open_path_in_root(root, folder, O_DIRECTORY);
    if (!found) {
      return fail(found.error().code, "root '{}' has no directory '{}' (make it: mkdir -p '{}{}')", name,
                  folder, name, folder);
    }
  }
  return {};
}

Result<void> open_root(InitialState& state) {
  const std::string& name = state.options->root;
  if (name.empty()) {
    state.root.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!state.root.valid()) return errno_fail("open '/'");
    return {};
  }
  const Fd folder(::open(name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return errno_fail("root '{}'", name);
  auto clone = sys::clone_tree(folder.get(), "", true);
  if (!clone) return fail(clone.error().code, "root '{}'", name);
  // pivot_root(2) wants a mount point, in this mount namespace.
  if (auto attached = sys::attach_mount(clone->get(), folder.get(), ""); !attached) return attached;
  state.root.reset(::openat(clone->get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!state.root.valid()) return errno_fail("open root '{}'", name);
  state.pivot = true;
  if (auto checked = check_root(state.root.get(), name); !checked) return checked;
  auto sys = sys::clone_tree(AT_FDCWD, "/sys", true);
  if (!sys) return fail(sys.error().code, "copy '/sys'");
  return mount_in_root(sys->get(), state.root.get(), "/sys");
}

Result<Fd> open_fuse() {
  Fd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return explained(Result<Fd>(errno_fail("open '/dev/fuse'")), Step::kOpenFuse);
  struct stat status = {};
  if (::fstat(fd.get(), &status) == 0 && (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(10, 229))) {
    return explained(Result<Fd>(fail(ENODEV, "'/dev/fuse' is something else")), Step::kOpenFuse);
  }
  return fd;
}

struct FuseMount {
  Fd mount;
  std::vector<Fd> channels;
};

// Each channel must be opened here: the kernel compares the user namespace of the opener with the mount's.
Result<FuseMount> mount_with_channels(const sys::FuseMountOptions& options, unsigned channels) {
  FuseMount made;
  for (unsigned i = 0; i < std::max(channels, 1u); ++i) {
    auto channel = open_fuse();
    if (!channel) return propagate(channel);
    if (i == 0) {
      auto mount = explained(sys::mount_fuse(channel->get(), options), Step::kMountFuse);
      if (!mount) return propagate(mount);
      made.mount = std::move(*mount);
    } else if (auto joined = sys::join_fuse_connection(channel->get(), made.channels[0].get()); !joined) {
      return propagate(joined);
    }
    made.channels.push_back(std::move(*channel));
  }
  return made;
}

Result<void> send_channels(int control, Act act, const std::vector<Fd>& channels) {
  std::vector<int> fds;
  for (const Fd& channel : channels) fds.push_back(channel.get());
  for (size_t i = 0; i < fds.size(); i += kFdsInANote) {
    const size_t count = std::min(kFdsInANote, fds.size() - i);
    if (auto sent = send_note(control, act, 0, std::span(fds).subspan(i, count)); !sent) return sent;
  }
  return {};
}

// With the view's mount.
struct FuseMounts {
  FuseMount instance, view;
  uint64_t id = 0;  // of an instance that another process serves
};

Result<FuseMounts> mount_fuse_file_systems(const Options& options) {
  const uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  FuseMounts mounts;
  if (options.mount_instance) {
    auto made = options.mount_instance();
    if (!made) return propagate(made);
    mounts.instance.mount = std::move(made->mount);
    mounts.id = made->id;
  } else {
    auto made = mount_with_channels(
        {.source = "loopfs", .subtype = "loopfs", .root_mode = S_IFDIR | 0755, .attributes = attributes},
        options.channels);
    if (!made) return propagate(made);
    mounts.instance = std::move(*made);
  }
  auto view = mount_with_channels(
      {.source = "loopfs-view", .subtype = "loopfs", .root_mode = S_IFDIR | 0755, .attributes = attributes},
      options.view_channels);
  if (!view) return propagate(view);
  mounts.view = std::move(*view);
  return mounts;
}

// From here on loopfs can serve the instance.
Result<void> hand_over(int control, const FuseMounts& mounts) {
  auto device = sys::device_of_mount(mounts.instance.mount.get());
  if (!device) return propagate(device);
  if (auto sent = send_channels(control, Act::kInstanceChannels, mounts.instance.channels); !sent)
    return sent;
  if (auto sent = send_channels(control, Act::kViewChannels, mounts.view.channels); !sent) return sent;
  const Fd user_namespace(::open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
  if (!user_namespace.valid()) return errno_fail("open '/proc/self/ns/user'");
  const int fds[] = {mounts.instance.mount.get(), user_namespace.get()};
  return send_note(control, Act::kTree, static_cast<int32_t>(mounts.id), fds, *device);
}

// The instance becomes /dev.
Result<void> mount_dev(InitialState& state, FuseMounts mounts) {
  const HostMounts hosts = HostMounts::copy();
  const int dev = mounts.instance.mount.get();
  if (auto attached = mount_in_root(dev, state.root.get(), "/dev"); !attached) return attached;
  if (auto filled = fill_dev_tree(dev, hosts); !filled) return filled;
  if (auto attached = sys::attach_mount(mounts.view.mount.get(), dev, kViewName); !attached) return attached;
  state.dev = std::move(mounts.instance.mount);
  return {};
}

Result<void> build(InitialState& state) {
  if (auto entered = enter_new_namespaces(state.control); !entered) return entered;
  // The copies of the host's mounts must not carry ours back to it; what the host mounts later still comes in.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return explained(Result<void>(errno_fail("make the mounts private")), Step::kMount);
  }
  if (auto copied = copy_bind_sources(state); !copied) return copied;
  // Before anything is built: the most common reason to fail.
  if (auto fuse = open_fuse(); !fuse) return propagate(fuse);
  if (auto opened = open_root(state); !opened) return opened;
  if (auto separated = separate_mount_state(state.root.get()); !separated) return separated;
  auto mounts = mount_fuse_file_systems(*state.options);
  if (!mounts) return propagate(mounts);
  if (auto handed = hand_over(state.control, *mounts); !handed) return handed;
  // Ours are the server's alone: it ends with loopfs.
  mounts->instance.channels.clear();
  mounts->view.channels.clear();
  return explained(mount_dev(state, std::move(*mounts)), Step::kMount);
}

}  // namespace

void run_setup(InitialState state) {
  if (!sys::die_with_parent()) _exit(1);
  if (auto built = build(state); !built) {
    (void)send_failure(state.control, built.error());
    _exit(1);
  }
  auto init = sys::fork_first_process_for_parent();
  if (!init) {
    (void)send_failure(state.control, init.error());
    _exit(1);
  }
  if (*init == 0) run_init(std::move(state));
  (void)send_note(state.control, Act::kInit, *init);
  _exit(0);
}

}  // namespace loopfs::sandbox
