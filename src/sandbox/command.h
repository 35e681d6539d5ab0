// Becoming the sandbox's command.
#pragma once

#include <string>
#include <vector>

namespace loopfs::sandbox {

constexpr int kCannotExecute = 126;  // the statuses of shells and env(1)
constexpr int kNotFound = 127;

struct ExecFailure {
  int status = kCannotExecute;
  std::string reason;
};

// Why execvp(3) of `program` failed with `code`; looks at the file system and PATH to tell.
ExecFailure explain_exec_failure(const std::string& program, int code);

// Pure: PATH with the folders of programs for administrators, which users of Debian do not have in it. In the sandbox they
// are root.
std::string path_with_administration(const std::string& path);

// Executes the command, looked up in PATH. If that fails, says so in one line on stderr and exits.
[[noreturn]] void execute_command(const std::vector<std::string>& command);

}  // namespace loopfs::sandbox
