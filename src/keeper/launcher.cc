#include "keeper/launcher.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "sys/namespace.h"

namespace loopfs::keeper {
namespace {

struct Start {
  char* const* argv;
  int number;
  pid_t keeper;
  const sigset_t* mask;
};

void complain(const char* path, int code) {
  const char* reason = ::strerrordesc_np(code);
  for (const char* part : {"loopfsd: exec '", path, "': ", reason ? reason : "unknown error", "\n"}) {
    if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) return;
  }
}

// The new process before it is the server. It shares the keeper's descriptors at first, and its memory is a
// copy in which another thread may hold the allocator's lock: no allocation here.
int become_server(void* argument) {
  const auto& start = *static_cast<const Start*>(argument);
  const auto number = static_cast<unsigned>(start.number);
  // The table becomes its own, and what is above the number does not get into it (the kernel copies only the
  // rest).
  if (::close_range(number + 1, ~0U, CLOSE_RANGE_UNSHARE) != 0 && ::unshare(CLONE_FILES) != 0) {
    ::_exit(Launcher::kCannotExecute);
  }
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  ::fcntl(start.number, F_SETFD, 0);
  // Without the keeper nobody has what the server would have to leave behind. The keeper may be dead already.
  if (!sys::die_with_parent() || ::getppid() != start.keeper) ::_exit(Launcher::kCannotExecute);
  ::sigprocmask(SIG_SETMASK, start.mask, nullptr);
  ::execve(start.argv[0], start.argv, environ);
  const int code = errno;
  complain(start.argv[0], code);
  ::_exit(code == ENOENT ? Launcher::kNoProgram : Launcher::kCannotExecute);
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

Result<Launcher> Launcher::create(const std::vector<std::string>& command, const sigset_t& mask) {
  if (command.empty()) return fail(EINVAL, "start a server without a command");
  Launcher launcher;
  launcher.mask_ = mask;
  launcher.null_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!launcher.null_.valid()) return errno_fail("open '/dev/null'");
  // So that none of the standard ones is the number of something else.
  while (launcher.null_.get() <= STDERR_FILENO) {
    const int filler = launcher.null_.release();
    ::fcntl(filler, F_SETFD, 0);
    launcher.null_.reset(::fcntl(filler, F_DUPFD_CLOEXEC, 0));
    if (!launcher.null_.valid()) return errno_fail("duplicate '/dev/null'");
  }
  launcher.slot_.reset(::fcntl(launcher.null_.get(), F_DUPFD_CLOEXEC, 3));
  if (!launcher.slot_.valid()) return errno_fail("duplicate '/dev/null'");
  launcher.command_ = command;
  for (std::string& word : launcher.command_) replace_all(word, "{fd}", fmt::format("{}", launcher.number()));
  return launcher;
}

Result<pid_t> Launcher::start(const Fd& server_end) {
  std::vector<char*> argv;
  for (std::string& word : command_) argv.push_back(word.data());
  argv.push_back(nullptr);
  Start start{argv.data(), number(), ::getpid(), &mask_};
  if (::dup3(server_end.get(), number(), O_CLOEXEC) < 0) return errno_fail("duplicate the server's socket");
  alignas(16) static std::array<char, 65536> stack;
  // CLONE_VFORK: until execve(2) the slot is shared. The memory is not.
  const pid_t pid =
      ::clone(become_server, stack.data() + stack.size(), CLONE_FILES | CLONE_VFORK | SIGCHLD, &start);
  const int code = errno;
  ::dup3(null_.get(), number(), O_CLOEXEC);
  if (pid < 0) return fail(code, "start '{}'", command_[0]);
  return pid;
}

}  // namespace loopfs::keeper
