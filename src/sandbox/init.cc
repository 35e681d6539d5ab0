#include "sandbox/init.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "instance/node.h"
#include "sandbox/command.h"
#include "sandbox/control.h"
#include "sandbox/dev_tree.h"
#include "sandbox/private_fds.h"
#include "sandbox/remedy.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"

namespace loopfs::sandbox {
namespace {

constexpr int kOrphaned = 128 + SIGKILL;

bool is_closed(int control) {
  pollfd poll_fd{control, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR));
}

// The kernel allows a new proc only if it is no less restricted than the one that is there.
uint64_t attributes_of_present_proc() {
  struct statvfs status = {};
  uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (::statvfs("/proc", &status) != 0) return attributes;
  if (status.f_flag & ST_RDONLY) attributes |= MOUNT_ATTR_RDONLY;
  if (status.f_flag & ST_NODIRATIME) attributes |= MOUNT_ATTR_NODIRATIME;
  if (status.f_flag & ST_NOATIME) {
    attributes |= MOUNT_ATTR_NOATIME;
  } else if (!(status.f_flag & ST_RELATIME)) {
    attributes |= MOUNT_ATTR_STRICTATIME;
  }
  return attributes;
}

Result<void> mount_proc(const InitialState& state) {
  // Two superblocks of one pid namespace; the second has no views on it.
  const uint64_t attributes = attributes_of_present_proc();
  for (const std::string& target : {std::string("/proc"), std::string("/dev/") + kPlainProc}) {
    auto proc = explained(sys::mount_virtual("proc", {{"source", "proc"}}, attributes), Step::kMountProc);
    if (!proc) return propagate(proc);
    if (auto mounted = mount_in_root(proc->get(), state.root.get(), target); !mounted) return mounted;
  }
  return {};
}

bool same_file_system(int one, int other) {
  struct stat first = {}, second = {};
  return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 && first.st_dev == second.st_dev;
}

// Makes a mount point for the bind, but only in the sandbox's own /dev: nothing of ours may stay on the host.
Result<Fd> make_mount_point(const InitialState& state, const BindMount& bind) {
  const std::filesystem::path path(bind.bind.destination);
  auto parent = sys::open_path_in_root(state.root.get(), path.parent_path(), O_DIRECTORY);
  if (!parent || !same_file_system(parent->get(), state.dev.get())) {
    return fail(ENOENT, "bind '{}': nothing at '{}' to mount it on; make a {} there first", bind.bind.source,
                bind.bind.destination, bind.directory ? "directory" : "file");
  }
  const std::string name = path.filename();
  if (bind.directory) {
    if (::mkdirat(parent->get(), name.c_str(), 0755) != 0) return errno_fail("mkdir '{}'", path.string());
  } else {
    const Fd file(::openat(parent->get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file.valid()) return errno_fail("make '{}'", path.string());
  }
  return sys::open_path_in_root(state.root.get(), path, 0);
}

bool is_of_instance(const std::string& destination) {
  const std::filesystem::path path = std::filesystem::path(destination).lexically_normal();
  return path == "/dev" || path == "/dev/" ||
         (path.parent_path() == "/dev" && instance::parse_node_name(path.filename().string()));
}

Result<void> attach_bind(const InitialState& state, const BindMount& bind) {
  const std::string& destination = bind.bind.destination;
  if (destination == "/") return fail(EINVAL, "bind '{}' on '/' (that is --root)", bind.bind.source);
  if (is_of_instance(destination)) {
    return fail(EINVAL, "bind '{}' on '{}', which is the instance's", bind.bind.source, destination);
  }
  auto target = sys::open_path_in_root(state.root.get(), destination, 0);
  if (!target && target.error().code == ENOENT) target = make_mount_point(state, bind);
  if (!target) return propagate(target);
  struct stat status = {};
  if (::fstat(target->get(), &status) == 0 && S_ISDIR(status.st_mode) != bind.directory) {
    return fail(bind.directory ? ENOTDIR : EISDIR, "bind '{}' on '{}': one is a directory, the other is not",
                bind.bind.source, destination);
  }
  auto attached = sys::attach_mount(bind.mount.get(), target->get(), "");
  if (!attached) return propagate(attached, "bind '{}' on '{}'", bind.bind.source, destination);
  return {};
}

void restore_working_directory(const InitialState& state) {
  const std::string& directory = state.working_directory;
  if (!directory.empty() && ::chdir(directory.c_str()) == 0) return;
  // Without another root the old directory is still the same one, wherever it is.
  if (state.pivot && ::chdir("/") != 0) _exit(1);
}

Result<void> finish_tree(InitialState& state) {
  if (auto mounted = mount_proc(state); !mounted) return mounted;
  for (const BindMount& bind : state.binds) {
    if (auto attached = attach_bind(state, bind); !attached) return attached;
  }
  state.binds.clear();
  if (state.pivot) {
    if (auto pivoted = sys::change_root_to(state.root.get()); !pivoted) return pivoted;
  }
  restore_working_directory(state);
  return {};
}

// Covers the real places with the view's directories. What one of the two sides lacks is left out.
Result<void> attach_views(const std::vector<ViewMount>& views) {
  const std::string view = std::string("/dev/") + kViewName;
  for (const ViewMount& entry : views) {
    struct stat status = {};
    if (::stat(entry.target.c_str(), &status) != 0) continue;
    auto clone = sys::clone_tree(AT_FDCWD, view + "/" + entry.name, false);
    if (!clone && clone.error().code == ENOENT) continue;
    if (!clone) return propagate(clone);
    auto attached = sys::attach_mount(clone->get(), AT_FDCWD, entry.target);
    if (!attached) return attached;
  }
  if (::umount2(view.c_str(), MNT_DETACH) != 0) return errno_fail("unmount '{}'", view);
  return {};
}

Result<void> answer(const InitialState& state, Act act) {
  const Options& options = *state.options;
  if (act == Act::kAttachViews) {
    auto attached = attach_views(options.views);
    return attached ? send_note(state.control, Act::kDone) : send_failure(state.control, attached.error());
  }
  if (act != Act::kInstallFilter) return fail(EPROTO, "note {}", static_cast<unsigned>(act));
  if (!options.install_filter) return send_note(state.control, Act::kNoListener);
  auto listener = options.install_filter();
  if (!listener && listener.error().code == EBUSY) return send_note(state.control, Act::kNoListener);
  if (!listener) return send_failure(state.control, listener.error());
  const int fds[] = {listener->get()};
  return send_note(state.control, Act::kListener, 0, fds);
}

// Until the command may start.
void serve_requests(const InitialState& state) {
  for (;;) {
    auto note = receive_note(state.control);
    if (!note || !*note) _exit(kOrphaned);
    if ((*note)->act == Act::kStart) return;
    if (!answer(state, (*note)->act)) _exit(kOrphaned);
  }
}

[[noreturn]] void run_command(const InitialState& state) {
  ::sigaction(SIGCHLD, &state.signals.child, nullptr);
  ::sigprocmask(SIG_SETMASK, &state.signals.mask, nullptr);
  execute_command(state.options->command);
}

int status_of(const siginfo_t& info) {
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

// Reaps whatever has ended; ends with the command. Stops of the command are reported: loopfs stops with it, so
// that the shell outside sees its job stopped.
void reap(int control, pid_t command) {
  for (;;) {
    siginfo_t info = {};
    if (::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG) != 0 || info.si_pid == 0) return;
    if (info.si_pid != command) continue;
    if (info.si_code != CLD_STOPPED && info.si_code != CLD_TRAPPED) {
      // Ahead of our own end, which may have to wait for processes that cannot be killed.
      (void)send_note(control, Act::kEnded, status_of(info));
      _exit(status_of(info));
    }
    // The socket does not block: if loopfs does not read, reaping goes on.
    if (info.si_code == CLD_STOPPED) (void)send_note(control, Act::kStopped, info.si_status);
  }
}

[[noreturn]] void reap_until_the_end(int control, int signals, pid_t command) {
  ::fcntl(control, F_SETFL, ::fcntl(control, F_GETFL) | O_NONBLOCK);
  pollfd poll_fds[] = {{signals, POLLIN, 0}, {control, 0, 0}};
  for (;;) {
    reap(control, command);
    if (::poll(poll_fds, 2, -1) < 0 && errno != EINTR) _exit(kOrphaned);
    if (poll_fds[1].revents & (POLLHUP | POLLERR)) _exit(kOrphaned);
    signalfd_siginfo info;
    if (poll_fds[0].revents & POLLIN) (void)!::read(signals, &info, sizeof info);
  }
}

}  // namespace

void run_init(InitialState state) {
  if (!sys::die_with_parent() || is_closed(state.control)) _exit(kOrphaned);
  ::prctl(PR_SET_NAME, "loopfs-init", 0, 0, 0);
  std::vector<int> kept{state.control, state.root.get(), state.dev.get()};
  for (const BindMount& bind : state.binds) kept.push_back(bind.mount.get());
  close_private_fds(kept);
  if (auto finished = finish_tree(state); !finished) {
    (void)send_failure(state.control, finished.error());
    _exit(1);
  }
  state.root.reset();
  state.dev.reset();
  if (!send_note(state.control, Act::kDone)) _exit(kOrphaned);
  serve_requests(state);

  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  const Fd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  const pid_t command = ::fork();
  if (command == 0) run_command(state);
  if (command < 0 || !signals.valid()) {
    (void)send_failure(state.control, Error{errno, "fork"});
    _exit(1);
  }
  if (auto pidfd = sys::pidfd_of_process(command)) {
    const int fds[] = {pidfd->get()};
    if (!send_note(state.control, Act::kCommand, 0, fds)) _exit(kOrphaned);
  }
  close_all_fds({state.control, signals.get()});
  reap_until_the_end(state.control, signals.get(), command);
}

}  // namespace loopfs::sandbox
