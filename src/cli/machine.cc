#include "cli/machine.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/fd.h"
#include "mounter/config.h"

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

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path ? path : "/usr/bin:/bin") + ":/usr/sbin:/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && ::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

void examine_fuse(MachineFacts& facts) {
  const Fd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  facts.fuse_open = fuse.valid() ? 0 : errno;
  struct stat status {};
  if (::stat("/dev/fuse", &status) == 0) facts.fuse_mode = status.st_mode & 07777;
  facts.fuse_in_kernel = contents_of("/proc/filesystems").find("\tfuse\n") != std::string::npos;
}

void examine_user(MachineFacts& facts) {
  const uid_t uid = ::geteuid();
  facts.is_root = uid == 0;
  const passwd* entry = ::getpwuid(uid);
  facts.user = entry ? entry->pw_name : std::to_string(uid);
  facts.newidmap = in_path("newuidmap") && in_path("newgidmap");
  facts.subuid = has_subordinate_range(contents_of("/etc/subuid"), facts.user, uid);
  facts.subgid = has_subordinate_range(contents_of("/etc/subgid"), facts.user, uid);
}

}  // namespace

bool has_subordinate_range(const std::string& text, const std::string& user, uid_t uid) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string owner = line.substr(0, first);
    const long count = std::strtol(line.c_str() + second + 1, nullptr, 10);
    if ((owner == user || owner == std::to_string(uid)) && count > 0) return true;
  }
  return false;
}

MachineFacts examine_machine(const std::string& config) {
  MachineFacts facts;
  examine_fuse(facts);
  facts.max_user_namespaces = number_in("/proc/sys/user/max_user_namespaces");
  facts.unprivileged_userns_clone = number_in("/proc/sys/kernel/unprivileged_userns_clone");
  facts.apparmor_restrict_userns = number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
  facts.apparmor = contents_of("/sys/module/apparmor/parameters/enabled").starts_with("Y");
  facts.ptrace_scope = number_in("/proc/sys/kernel/yama/ptrace_scope");
  facts.namespaces = sys::probe_namespaces();
  facts.foreign = sys::probe_foreign_process();
  facts.notify = sys::probe_seccomp_notify();
  examine_user(facts);
  // PROGRAMS
  (void)config;
  return facts;
}

}  // namespace loopfs::cli
