#include "mounter/program.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <sstream>

#include "mounter/minimal_root.h"
#include "sys/message.h"
#include "sys/namespace.h"
#include "sys/process.h"
#include "sys/seccomp.h"

namespace loopfs::mounter {
namespace {

// What the processes on the way send back: each message begins with one of these.
enum class Tag : char { kPidfd = 'P', kListener = 'L', kError = 'E' };

void send_tag(int socket, Tag tag, int fd) {
  const int fds[] = {fd};
  (void)sys::send_message(socket, std::as_bytes(std::span(&tag, 1)), fds);
}

[[noreturn]] void give_up(int socket, const Error& error) {
  std::vector<std::byte> bytes(1 + sizeof error.code + error.what.size());
  bytes[0] = static_cast<std::byte>(Tag::kError);
  std::memcpy(bytes.data() + 1, &error.code, sizeof error.code);
  std::memcpy(bytes.data() + 1 + sizeof error.code, error.what.data(), error.what.size());
  (void)sys::send_message(socket, bytes);
  ::_exit(1);
}

Error error_in(std::span<const std::byte> bytes) {
  Error error{EIO, "start a FUSE program"};
  if (bytes.size() < 1 + sizeof error.code) return error;
  std::memcpy(&error.code, bytes.data() + 1, sizeof error.code);
  const auto text = bytes.subspan(1 + sizeof error.code);
  error.what.assign(reinterpret_cast<const char*>(text.data()), text.size());
  return error;
}

// The program's mount(2) waits for us; what no FUSE program needs is refused.
Result<Fd> install_program_filter() {
  const std::unique_ptr<void, void (*)(void*)> context(::seccomp_init(SCMP_ACT_ALLOW), ::seccomp_release);
  if (!context) return fail(ENOMEM, "seccomp_init");
  const int refused[] = {
      SCMP_SYS(umount2),
      SCMP_SYS(pivot_root),
      SCMP_SYS(chroot),
      SCMP_SYS(setns),
      SCMP_SYS(unshare),
      SCMP_SYS(fsopen),
      SCMP_SYS(fspick),
      SCMP_SYS(open_tree),
      SCMP_SYS(move_mount),
      SCMP_SYS(mount_setattr),
      SCMP_SYS(ptrace),
      SCMP_SYS(process_vm_readv),
      SCMP_SYS(process_vm_writev),
      SCMP_SYS(bpf),
      SCMP_SYS(perf_event_open),
      SCMP_SYS(userfaultfd),
      SCMP_SYS(io_uring_setup),
      SCMP_SYS(keyctl),
      SCMP_SYS(add_key),
      SCMP_SYS(request_key),
      SCMP_SYS(open_by_handle_at),
      SCMP_SYS(kexec_load),
      SCMP_SYS(init_module),
      SCMP_SYS(finit_module),
      SCMP_SYS(socket),
  };
  int failed = ::seccomp_rule_add(context.get(), SCMP_ACT_NOTIFY, SCMP_SYS(mount), 0);
  for (const int call : refused) {
    if (failed == 0) failed = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EPERM), call, 0);
  }
  // "Not a link": ntfs-3g resolves kImagePath by itself, to a name that does not exist in its root.
  for (const int call : {SCMP_SYS(readlink), SCMP_SYS(readlinkat)}) {
    if (failed == 0) failed = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(EINVAL), call, 0);
  }
  // Done, as far as it knows: ntfs-3g gives up where it cannot drop groups, which reach nothing in its root.
  if (failed == 0) failed = ::seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(0), SCMP_SYS(setgroups), 0);
  if (failed != 0) return fail(-failed, "seccomp_rule_add");
  auto code = sys::compile_filter(context.get());
  if (!code) return propagate(code);
  const sock_fprog program{static_cast<unsigned short>(code->size()), code->data()};
  return sys::install_filter_with_listener(program);
}

Result<void> confine(const ProgramLaunch& launch) {
  if (auto done = sys::die_with_parent(); !done) return done;
  if (auto done = enter_minimal_root(launch.executable); !done)
    return propagate(done, "confine a FUSE program");
  ::umask(0);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  // A file system that is larger than its device: writes behind the end fail, as a device's do, where a file
  // would grow.
  const rlimit no_growth{launch.image_end, launch.image_end};
  ::setrlimit(RLIMIT_FSIZE, &no_growth);
  if (auto done = sys::limit_capabilities({CAP_DAC_OVERRIDE}); !done) return done;
  // limit_capabilities() changes credentials, which clears the parent's death signal.
  if (auto done = sys::die_with_parent(); !done) return done;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_fail("PR_SET_NO_NEW_PRIVS");
  return {};
}

// The first process of the program's pid namespace, up to execve(2).
[[noreturn]] void become_program(const ProgramLaunch& launch, int socket, int errors) {
  ::signal(SIGPIPE, SIG_IGN);  // nobody may be reading what it writes
  ::signal(SIGXFSZ, SIG_IGN);
  if (auto done = confine(launch); !done) give_up(socket, done.error());
  auto listener = install_program_filter();
  if (!listener) give_up(socket, listener.error());
  send_tag(socket, Tag::kListener, listener->get());
  listener->reset();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  // Above the numbers that are wanted, so that no dup2() closes what another still needs.
  const int image = ::fcntl(launch.image, F_DUPFD_CLOEXEC, 10);
  const int output = ::fcntl(errors, F_DUPFD_CLOEXEC, 10);
  const int report = ::fcntl(socket, F_DUPFD_CLOEXEC, 10);
  if (null < 0 || image < 0 || output < 0 || report < 0 || ::dup2(null, 0) < 0 || ::dup2(output, 1) < 0 ||
      ::dup2(output, 2) < 0 || ::dup2(image, 3) < 0) {
    give_up(socket, Error{errno, "hand a FUSE program its descriptors"});
  }
  (void)sys::close_from_at_exec(4);
  std::vector<char*> arguments;
  for (const auto& word : launch.arguments) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  char language[] = "LC_ALL=C";
  char home[] = "HOME=/";
  char* environment[] = {path, language, home, nullptr};
  ::execve(launch.executable.c_str(), arguments.data(), environment);
  give_up(report, Error{errno, fmt::format("execute '{}'", launch.executable)});
}

// Between the worker and the program: enters the namespaces, makes the program in a pid namespace, and is
// gone.
[[noreturn]] void make_program(const ProgramLaunch& launch, int socket, int errors) {
  ::setsid();  // no signal of the user's terminal reaches it
  if (auto done = sys::enter_namespaces(launch.user_namespace, CLONE_NEWUSER); !done)
    give_up(socket, done.error());
  if (auto done = sys::become_root_of_namespace(); !done) give_up(socket, done.error());
  if (auto done = sys::unshare_namespaces(CLONE_NEWNS); !done) give_up(socket, done.error());
  // Where these are forbidden the program still has neither a socket nor a name for anything outside.
  (void)sys::unshare_namespaces(CLONE_NEWNET);
  (void)sys::unshare_namespaces(CLONE_NEWIPC);
  auto program = sys::fork_for_parent(CLONE_NEWPID | SIGCHLD);
  if (!program) give_up(socket, program.error());
  if (program->pid == 0) become_program(launch, socket, errors);
  send_tag(socket, Tag::kPidfd, program->pidfd.get());
  ::_exit(0);
}

}  // namespace

Result<RunningProgram> launch_program(const ProgramLaunch& launch) {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  int output[2];
  if (::pipe2(output, O_CLOEXEC | O_NONBLOCK) != 0) return errno_fail("pipe");
  RunningProgram running{.errors = Fd(output[0])};
  const Fd errors(output[1]);
  auto maker = sys::fork_for_parent(SIGCHLD);
  if (!maker) return propagate(maker);
  if (maker->pid == 0) make_program(launch, ends->second.get(), errors.get());
  ends->second.reset();
  std::optional<Error> failed;
  for (;;) {  // until execve(2) has closed the other end
    auto message = sys::receive_message(ends->first.get());
    if (!message) return propagate(message);
    if (!*message) break;
    const auto& bytes = (*message)->bytes;
    auto& fds = (*message)->fds;
    if (bytes.empty()) continue;
    const Tag tag = static_cast<Tag>(bytes[0]);
    if (tag == Tag::kError) failed = error_in(bytes);
    if (tag == Tag::kPidfd && !fds.empty()) running.pidfd = std::move(fds[0]);
    if (tag == Tag::kListener && !fds.empty()) running.listener = std::move(fds[0]);
  }
  if (failed) return tl::unexpected(*failed);
  if (!running.pidfd.valid() || !running.listener.valid()) return fail(EIO, "start '{}'", launch.executable);
  return running;
}

std::string output_of(int errors) {
  std::string text;
  char piece[4096];
  for (ssize_t got; (got = ::read(errors, piece, sizeof piece)) > 0;) {
    text.append(piece, static_cast<size_t>(got));
    if (text.size() > 65536) text.erase(0, text.size() - 65536);
  }
  return text;
}

std::string telling_line(const std::string& output, const std::string& source) {
  // The last line often gives advice (ntfs-3g: ten lines of it), and the error stands above.
  static constexpr const char* kSigns[] = {"error",     "fail",      "invalid",     "cannot",
                                           "could not", "not match", "unsupported", "corrupt"};
  std::string last, telling;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    last = line;
    for (const char* sign : kSigns) {
      if (::strcasestr(line.c_str(), sign) != nullptr) telling = line;
    }
  }
  std::string found = telling.empty() ? last : telling;
  const size_t name = found.find(kImagePath);
  if (name != std::string::npos) found.replace(name, std::strlen(kImagePath), source);
  found = found.substr(0, 200);
  for (char& letter : found) {
    if (static_cast<unsigned char>(letter) < 0x20 || static_cast<unsigned char>(letter) > 0x7e) letter = '?';
  }
  return found;
}

}  // namespace loopfs::mounter
