// The command line.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "cli/attach.h"
#include "cli/manager_commands.h"
#include "cli/run.h"

namespace loopfs::cli {

struct DoctorOptions {
  std::string config;  // as RunOptions::config
  std::string socket = kManagerSocket;
};

// Nothing to do but to print and to exit: --help, --version, or a mistake in the command line.
struct Message {
  int status = 0;    // 0: `text` belongs on stdout; 2: on stderr, one line
  std::string text;  // without the newline at its end
};

using CommandLine = std::variant<RunOptions, DoctorOptions, ListOptions, InspectOptions, EventsOptions,
                                 LimitOptions, AttachOptions, DetachOptions, Message>;

// The words after the program's name.
CommandLine parse_command_line(const std::vector<std::string>& words);

}  // namespace loopfs::cli
