#include "daemon/keep.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"
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

// The parent ends at once; the daemon is a session of its own, with nothing to read or write.
Result<bool> go_to_background() {
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid > 0) return true;
  ::setsid();
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
  return false;
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
  if (!options.foreground && std::getenv("NOTIFY_SOCKET") == nullptr) {
    auto parent = go_to_background();
    if (!parent) return propagate(parent);
    if (*parent) return 0;
  }
  keeper::Options keeping;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(error.value(), "read '/proc/self/exe'");
  // A newer binary at the same path is what a restart is to run.
  std::string name = program.string();
  if (constexpr std::string_view kDeleted = " (deleted)"; name.ends_with(kDeleted))
    name.resize(name.size() - kDeleted.size());
  keeping.server_command = {name, "--store", "{fd}", "--first-device", std::to_string(options.first_device)};
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
  return 1;
}

}  // namespace loopfs::daemon
