#include "sys/probe.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>

#include "base/fd.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/remote_memory.h"
#include "sys/uapi.h"

namespace loopfs::sys {
namespace {

// Runs `attempt` in a child and fetches what it filled in. A child that dies tells nothing: EIO everywhere.
template <typename Answer, typename Attempt>
Answer in_child(const Answer& failed, Attempt attempt) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return failed;
  Fd reader(pipe[0]);
  Fd writer(pipe[1]);
  const pid_t child = ::fork();
  if (child < 0) return failed;
  if (child == 0) {
    Answer answer{};
    attempt(answer);
    const ssize_t sent = ::write(writer.get(), &answer, sizeof answer);
    ::_exit(sent == sizeof answer ? 0 : 1);
  }
  writer.reset();
  Answer answer{};
  const ssize_t got = ::read(reader.get(), &answer, sizeof answer);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return got == sizeof answer ? answer : failed;
}

int error_of(const auto& result) {
  return result ? 0 : result.error().code;
}

// A user namespace in which the calling process is root.
int enter_user_namespace(int more_namespaces) {
  const IdRange user{0, ::geteuid(), 1};
  const IdRange group{0, ::getegid(), 1};
  if (auto made = unshare_namespaces(CLONE_NEWUSER | more_namespaces); !made) return made.error().code;
  if (auto denied = deny_setgroups(::getpid()); !denied) return denied.error().code;
  if (auto mapped = write_id_map(::getpid(), IdKind::kUser, {&user, 1}); !mapped) return mapped.error().code;
  return error_of(write_id_map(::getpid(), IdKind::kGroup, {&group, 1}));
}

void try_mount_api(NamespaceProbe& answer) {
  auto mount = mount_virtual("tmpfs", {}, 0);
  auto copy = clone_tree(AT_FDCWD, "/", true);
  answer.mount_api = mount ? error_of(copy) : mount.error().code;
  answer.attributes =
      mount ? error_of(set_mount_attributes(mount->get(), MOUNT_ATTR_NOSUID, 0, false)) : answer.mount_api;
}

void try_fuse(NamespaceProbe& answer) {
  Fd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse.valid()) {
    answer.mount_fuse = answer.clone_fuse = errno;
    return;
  }
  auto mount = mount_fuse(fuse.get(), {});
  answer.mount_fuse = answer.clone_fuse = error_of(mount);
  if (!mount) return;
  Fd channel(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  answer.clone_fuse = channel.valid() ? error_of(join_fuse_connection(channel.get(), fuse.get())) : errno;
}

// As a FUSE program gets its root.
int try_root(Result<void> (*change)(int)) {
  return in_child<int>(EIO, [change](int& error) {
    auto root = mount_virtual("tmpfs", {}, 0);
    if (!root || ::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      error = root ? errno : root.error().code;
    } else if (auto attached = attach_mount(root->get(), AT_FDCWD, "/proc"); !attached) {
      error = attached.error().code;
    } else {
      error = error_of(change(root->get()));
    }
  });
}

void try_namespaces(NamespaceProbe& answer) {
  if (int error = enter_user_namespace(CLONE_NEWNS | CLONE_NEWPID)) {
    answer = {error, error, error, error, error, error, error, error};
    return;
  }
  try_mount_api(answer);
  try_fuse(answer);
  // In one child: when the first process of a pid namespace has ended, there can be no other.
  const std::array<int, 3> tried = in_child<std::array<int, 3>>({EIO, EIO, EIO}, [](auto& errors) {
    errors = {error_of(mount_virtual("proc", {}, 0)), try_root(pivot_root_to), try_root(cover_root_with)};
  });
  std::tie(answer.mount_proc, answer.pivot_root, answer.cover_root) = std::tuple_cat(tried);
}

int try_read_syscall(pid_t pid) {
  Fd fd(::open(fmt::format("/proc/{}/syscall", pid).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> text{};
  if (!fd.valid() || ::read(fd.get(), text.data(), text.size()) < 0) return errno;
  return 0;
}

int try_read_memory(pid_t pid) {
  static const int variable = 1;  // at the same address in a child
  int copy = 0;
  return error_of(
      read_memory(pid, reinterpret_cast<uintptr_t>(&variable), std::as_writable_bytes(std::span(&copy, 1))));
}

int try_take_fd(int pidfd) {
  auto taken = take_fd(pidfd, 0);
  return taken || taken.error().code == EBADF ? 0 : taken.error().code;  // EBADF: it has none of that number
}

int listener_with(unsigned flags) {
  sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  sock_fprog program{1, &allow};
  Fd listener(static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &program)));
  return listener.valid() ? 0 : errno;
}

}  // namespace

NamespaceProbe probe_namespaces() {
  return in_child<NamespaceProbe>({EIO, EIO, EIO, EIO, EIO, EIO, EIO, EIO}, try_namespaces);
}

ForeignProcessProbe probe_process(int pidfd) {
  auto pid = pid_of_pidfd(pidfd);
  if (!pid) return {pid.error().code, pid.error().code, pid.error().code};
  return {try_read_syscall(*pid), try_read_memory(*pid), try_take_fd(pidfd)};
}

ForeignProcessProbe probe_foreign_process() {
  const ForeignProcessProbe failed{EIO, EIO, EIO};
  std::array<int, 2> ready{};
  std::array<int, 2> done{};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) return failed;
  Fd ready_reader(ready[0]);
  Fd ready_writer(ready[1]);
  if (::pipe2(done.data(), O_CLOEXEC) != 0) return failed;
  Fd done_reader(done[0]);
  Fd done_writer(done[1]);
  const pid_t child = ::fork();
  if (child < 0) return failed;
  char byte = 0;
  if (child == 0) {
    done_writer.reset();
    if (enter_user_namespace(0) != 0 || ::write(ready_writer.get(), &byte, 1) != 1) ::_exit(1);
    ::_exit(::read(done_reader.get(), &byte, 1) == 0 ? 0 : 1);  // waits for the other end to close
  }
  ready_writer.reset();
  ForeignProcessProbe answer = failed;
  if (::read(ready_reader.get(), &byte, 1) == 1) {
    auto pidfd = pidfd_of_process(child);
    if (pidfd) answer = probe_process(pidfd->get());
  }
  done_writer.reset();
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return answer;
}

NotifyProbe probe_seccomp_notify() {
  NotifyProbe answer;
  auto attempt = [](unsigned flags) {
    return in_child<int>(EIO, [flags](int& error) {
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      error = listener_with(flags);
    });
  };
  answer.listener = attempt(0);
  answer.wait_killable = attempt(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
  return answer;
}

}  // namespace loopfs::sys
