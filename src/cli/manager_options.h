// The command line of the commands for the daemon's instances.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/error.h"
#include "cli/attach.h"
#include "cli/manager_commands.h"

namespace loopfs::cli {

// Adds the subcommands to a program's, and has what was given to the one that was parsed. To stay where it is:
// `app` knows where its values go.
class ManagerCommandLine {
 public:
  explicit ManagerCommandLine(CLI::App& app);
  ManagerCommandLine(const ManagerCommandLine&) = delete;
  ManagerCommandLine& operator=(const ManagerCommandLine&) = delete;

  // What the parser alone cannot see: words that go together, or not. Errors: EINVAL.
  Result<void> check();

  bool is_list() const { return list_command_->parsed(); }
  bool is_inspect() const { return inspect_command_->parsed(); }
  bool is_events() const { return events_command_->parsed(); }
  bool is_limit() const { return limit_command_->parsed(); }
  bool is_attach() const { return attach_command_->parsed(); }
  bool is_detach() const { return detach_command_->parsed(); }

  ListOptions list;
  InspectOptions inspect;
  EventsOptions events;
  LimitOptions limit;
  AttachOptions attach;
  DetachOptions detach;

 private:
  void add_limit(CLI::App& app);
  void add_attach(CLI::App& app);

  CLI::App *list_command_, *inspect_command_, *events_command_, *limit_command_, *attach_command_,
      *detach_command_;
  uint32_t uid_ = 0;
  std::string new_limit_;
  std::string direct_io_;
};

}  // namespace loopfs::cli
