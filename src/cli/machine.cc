#include "cli/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>

#include "base/fd.h"
#include "mounter/config.h"
#include "sandbox/map_ids.h"

namespace loopfs::cli {
namespace {

std::string contents_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : std::string();
}

std::optional<long> number_in(const std::string& path) {
  std::ifstream file(path);
  long number = 0;
  if (file >> number) return number;
  return std::nullopt;
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

}  // namespace

MachineFacts examine_machine(const std::string& config) {
  MachineFacts facts;
  examine_fuse(facts);
  facts.sysctls = sandbox::read_machine_facts();
  facts.apparmor = contents_of("/sys/module/apparmor/parameters/enabled").starts_with("Y");
  facts.ptrace_scope = number_in("/proc/sys/kernel/yama/ptrace_scope");
  facts.namespaces = sys::probe_namespaces();
  facts.foreign = sys::probe_foreign_process();
  facts.notify = sys::probe_seccomp_notify();
  facts.user = name_of_user();
  facts.ids = sandbox::read_id_facts();
  examine_programs(config, facts);
  return facts;
}

}  // namespace loopfs::cli
