#include "sandbox/map_ids.h"

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace loopfs::sandbox {
namespace {

std::string read_text(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The file has a privilege of its own that exec will grant: the set-user-id bit or file capabilities.
bool grants_privilege(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  if (::access(path.c_str(), X_OK) != 0) return false;
  struct statvfs mount = {};
  if (::statvfs(path.c_str(), &mount) != 0 || (mount.f_flag & ST_NOSUID)) return false;
  if ((status.st_mode & S_ISUID) && status.st_uid == 0) return true;
  return ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

// Where the program with its privilege is; empty if nowhere. PATH may lack /usr/bin.
std::string find_helper(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(std::string(path ? path : "") + ":/usr/bin:/bin:/usr/local/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.starts_with('/')) continue;
    std::string program = folder + "/" + name;
    if (grants_privilege(program)) return program;
  }
  return {};
}

std::string user_name(uid_t uid) {
  if (const passwd* entry = ::getpwuid(uid)) return entry->pw_name;
  return {};
}

// The last line of what can be read until the other ends are closed.
std::string last_line(int fd) {
  std::string text;
  char bytes[512];
  ssize_t count;
  while ((count = ::read(fd, bytes, sizeof bytes)) > 0 || (count < 0 && errno == EINTR)) {
    if (count > 0 && text.size() < 8192) text.append(bytes, static_cast<size_t>(count));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

Result<void> run_helper(const std::string& name, const std::vector<std::string>& arguments) {
  const std::string program = find_helper(name);
  if (program.empty()) return fail(ENOENT, "{}", name);
  std::vector<char*> argv{const_cast<char*>(name.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) return errno_fail("pipe");
  Fd output(pipe_ends[0]), input(pipe_ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDERR_FILENO);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return fail(code, "run '{}'", program);

  input.reset();
  const std::string complaint = last_line(output.get());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return errno_fail("wait for {}", name);
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return fail(0, "{}", complaint.empty() ? name + " failed" : complaint);
  }
  return {};
}

std::vector<std::string> helper_arguments(pid_t pid, const std::vector<IdRange>& ranges) {
  std::vector<std::string> arguments{std::to_string(pid)};
  for (const IdRange& range : ranges) {
    for (const uint32_t number : {range.inside, range.outside, range.count}) {
      arguments.push_back(std::to_string(number));
    }
  }
  return arguments;
}

}  // namespace

IdFacts read_id_facts() {
  IdFacts facts;
  facts.uid = ::geteuid();
  facts.gid = ::getegid();
  facts.user_map = parse_id_map(read_text("/proc/self/uid_map")).value_or(std::vector<IdRange>{});
  facts.group_map = parse_id_map(read_text("/proc/self/gid_map")).value_or(std::vector<IdRange>{});
  if (facts.uid == 0) return facts;
  const std::string name = user_name(facts.uid);
  facts.subordinate_users = parse_subordinate_ids(read_text("/etc/subuid"), name, facts.uid);
  facts.subordinate_groups = parse_subordinate_ids(read_text("/etc/subgid"), name, facts.uid);
  // Under no_new_privs exec grants nothing.
  facts.helpers_work = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 && !find_helper("newuidmap").empty() &&
                       !find_helper("newgidmap").empty();
  return facts;
}

Result<void> apply_id_maps(const IdMapPlan& plan, pid_t pid) {
  if (plan.method == IdMapPlan::Method::kHelpers) {
    if (auto users = run_helper("newuidmap", helper_arguments(pid, plan.users)); !users) return users;
    return run_helper("newgidmap", helper_arguments(pid, plan.groups));
  }
  if (plan.method == IdMapPlan::Method::kSingle) {
    if (auto denied = sys::deny_setgroups(pid); !denied) return denied;
  }
  if (auto users = sys::write_id_map(pid, sys::IdKind::kUser, plan.users); !users) return users;
  return sys::write_id_map(pid, sys::IdKind::kGroup, plan.groups);
}

}  // namespace loopfs::sandbox
