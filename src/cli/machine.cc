#include "cli/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>

#include "base/fd.h"
#include "mounter/config.h"
#include "sandbox/map_ids.h"
#include "sys/loop_probe.h"
#include "varlink/client.h"

namespace loopfs::cli {
namespace {

std::string contents_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : std::string();
}

void examine_fuse(MachineFacts& facts) {
  const Fd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  facts.fuse_open = fuse.valid() ? 0 : errno;
  struct stat status {};
  if (::stat("/dev/fuse", &status) == 0) facts.fuse_mode = status.st_mode & 07777;
}

std::string name_of_user() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry ? entry->pw_name : std::to_string(::geteuid());
}

// One fact for each set of file systems: two programs that serve the same are alternatives.
void examine_programs(const std::string& config, MachineFacts& facts) {
  auto table = mounter::ProgramTable::load(config);
  if (!table) facts.config_error = table.error().message();
  const mounter::ProgramTable programs = table ? std::move(*table) : mounter::ProgramTable::built_in();
  std::set<std::string> seen;
  for (const mounter::Program& entry : programs.programs()) {
    if (!seen.insert(entry.filesystems.front()).second) continue;
    const mounter::Program& chosen = *programs.find(entry.filesystems.front());
    facts.programs.push_back({fmt::format("{}", fmt::join(entry.filesystems, ", ")), chosen.command.front(),
                              chosen.package, mounter::locate_program(chosen).has_value()});
  }
}

// A daemon that is stuck is something to tell of, not to wait for.
void ask_daemon(DaemonFacts& facts) {
  constexpr timeval kPatience{.tv_sec = 3, .tv_usec = 0};
  auto client = varlink::Client::connect(facts.socket);
  facts.connect = client ? 0 : client.error().code;
  if (!client) return;
  (void)::setsockopt(client->socket_fd(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  const auto reply = client->call("org.varlink.service.GetInfo");
  facts.answer = reply ? 0 : reply.error().code;
  if (!reply) return;
  const auto version = reply->parameters.find("version");
  if (version != reply->parameters.end() && version->is_string()) facts.version = version->get<std::string>();
}

DaemonFacts examine_daemon(const std::string& socket) {
  constexpr unsigned kControlMajor = 10, kControlMinor = 237;  // linux/miscdevice.h
  DaemonFacts facts{.socket = socket};
  ask_daemon(facts);
  struct stat status {};
  if (::stat("/dev/loop-control", &status) != 0) {
    facts.loop_control = errno;
  } else if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(kControlMajor, kControlMinor)) {
    facts.loop_control = ENODEV;
  }
  if (facts.loop_control != 0) return facts;
  if (const auto clears = sys::probe_clears_at_last_close())
    facts.clears_at_last_close = *clears;
  else
    facts.clears_error = clears.error().code;
  return facts;
}

}  // namespace

MachineFacts examine_machine(const std::string& config, const std::string& socket) {
  MachineFacts facts;
  examine_fuse(facts);
  facts.sysctls = sandbox::read_machine_facts();
  facts.apparmor = contents_of("/sys/module/apparmor/parameters/enabled").starts_with("Y");
  facts.namespaces = sys::probe_namespaces();
  facts.foreign = sys::probe_foreign_process();
  facts.notify = sys::probe_seccomp_notify();
  facts.user = name_of_user();
  facts.ids = sandbox::read_id_facts();
  examine_programs(config, facts);
  facts.daemon = examine_daemon(socket);
  return facts;
}

}  // namespace loopfs::cli
