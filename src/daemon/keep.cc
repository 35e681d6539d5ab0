#include "daemon/keep.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"
#include "daemon/exit_status.h"
#include "keeper/keeper.h"
#include "policy/config.h"

namespace loopfs::daemon {
namespace {

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START
constexpr int kBacklog = 128;

void report(const std::string& line) {
  std::fprintf(stderr, "loopfsd: %s\n", line.c_str());
}

// The socket that systemd made, if it did: sd_listen_fds(3).
Fd socket_of_systemd() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || std::atoi(pid) != ::getpid() || std::atoi(count) < 1) return {};
  ::fcntl(kFirstPassed, F_SETFD, FD_CLOEXEC);
  return Fd(kFirstPassed);
}

Result<Fd> make_socket(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path) return fail(ENAMETOOLONG, "listen on '{}'", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  // A socket that nobody listens on is left over.
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), name, sizeof address) == 0)
    return fail(EADDRINUSE, "listen on '{}': a daemon does", path);
  if (errno == ECONNREFUSED) ::unlink(path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() || ::bind(socket.get(), name, sizeof address) != 0)
    return errno_fail("listen on '{}'", path);
  // Everybody may ask; what they get is decided for each.
  if (::chmod(path.c_str(), 0666) != 0 || ::listen(socket.get(), kBacklog) != 0)
    return errno_fail("listen on '{}'", path);
  return socket;
}

void write_nowhere(std::initializer_list<int> fds) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : fds) ::dup2(null.get(), fd);
}

// The status of the daemon, if it ends before it serves; else 0.
int wait_for_daemon(pid_t pid, const Fd& served) {
  char byte = 0;
  ssize_t length = 0;
  while ((length = ::read(served.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  if (length == 1) return 0;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The daemon is a session of its own, with nothing to read, and nothing to write to once it serves. For it: where to say
// that it does. For the parent: with what status it ends.
struct Background {
  std::optional<int> status;
  Fd serves;
};
Result<Background> go_to_background() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_fail("pipe");
  Fd served(ends[0]), serves(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid > 0) {
    serves.reset();
    return Background{wait_for_daemon(pid, served), {}};
  }
  ::setsid();
  write_nowhere({STDIN_FILENO, STDOUT_FILENO});
  return Background{std::nullopt, std::move(serves)};
}

// A newer binary at the same path is what a restart is to run.
Result<std::string> own_program() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(error.value(), "read '/proc/self/exe'");
  std::string name = program.string();
  if (constexpr std::string_view kDeleted = " (deleted)"; name.ends_with(kDeleted))
    name.resize(name.size() - kDeleted.size());
  return name;
}

Result<int> run(const KeepOptions& options) {
  if (::geteuid() != 0) return fail(EPERM, "serve kernel loop devices: only root can");
  auto config = policy::Config::load(options.config);
  if (!config) return propagate(config);
  const std::string path = options.socket.empty() ? config->daemon().socket : options.socket;
  Fd socket = socket_of_systemd();
  const bool own_socket = !socket.valid();
  if (own_socket) {
    auto made = make_socket(path);
    if (!made) return propagate(made);
    socket = std::move(*made);
  }
  keeper::Options keeping;
  const auto program = own_program();
  if (!program) return propagate(program);
  keeping.server_command = {*program, "--store", "{fd}", "--first-device",
                            std::to_string(options.first_device)};
  Background background;
  if (!options.foreground && std::getenv("NOTIFY_SOCKET") == nullptr) {
    auto gone = go_to_background();
    if (!gone) return propagate(gone);
    if (gone->status) return *gone->status;
    background = std::move(*gone);
    keeping.server_command.emplace_back("--silent");
    keeping.ready = [&background] {
      (void)!::write(background.serves.get(), "", 1);
      background.serves.reset();
      write_nowhere({STDERR_FILENO});
    };
  }
  if (!options.config.empty()) {
    keeping.server_command.insert(keeping.server_command.end(),
                                  {"--config", std::filesystem::absolute(options.config).string()});
  }
  keeping.inherited.push_back(std::move(socket));
  keeping.report = report;
  keeping.pid_file = options.pid_file;
  const int status = keeper::run(std::move(keeping));
  if (own_socket) ::unlink(path.c_str());
  return status;
}

}  // namespace

int keep(const KeepOptions& options) {
  auto status = run(options);
  if (status) return *status;
  report(status.error().message());
  return exit_status(status.error());
}

}  // namespace loopfs::daemon
