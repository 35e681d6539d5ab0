#include "sandbox/command.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace loopfs::sandbox {
namespace {

bool exists(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0;
}

// execvp(3) says EACCES also for a folder of PATH that it may not search; that is no program found.
bool exists_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(path ? path : "/bin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (exists((folder.empty() ? "." : folder) + "/" + program)) return true;
  }
  return false;
}

}  // namespace

std::string path_with_administration(const std::string& path) {
  std::string extended = path;
  for (const char* folder : {"/usr/local/sbin", "/usr/sbin", "/sbin"}) {
    if ((':' + path + ':').find(fmt::format(":{}:", folder)) == std::string::npos)
      extended += fmt::format(":{}", folder);
  }
  return extended;
}

ExecFailure explain_exec_failure(const std::string& program, int code) {
  const bool named = program.find('/') != std::string::npos;
  const bool found = named ? exists(program) : exists_in_path(program);
  if (!found && !named && (code == ENOENT || code == EACCES || code == ENOTDIR)) {
    return {kNotFound, "command not found"};
  }
  if (code != ENOENT)
    return {kCannotExecute, strerrordesc_np(code) ? strerrordesc_np(code) : "unknown error"};
  return {kNotFound, found ? "its interpreter is missing" : strerrordesc_np(code)};
}

void execute_command(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  if (const char* path = std::getenv("PATH")) ::setenv("PATH", path_with_administration(path).c_str(), 1);
  // udevadm(8), systemd-dissect(1) and systemd-repart(8) believe a /sys that is not the kernel's only then.
  ::setenv("SYSTEMD_DEVICE_VERIFY_SYSFS", "0", 0);
  ::execvp(argv[0], argv.data());
  const ExecFailure failure = explain_exec_failure(command[0], errno);
  ::dprintf(STDERR_FILENO, "loopfs: '%s': %s\n", argv[0], failure.reason.c_str());
  _exit(failure.status);
}

}  // namespace loopfs::sandbox
