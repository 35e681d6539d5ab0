#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "cli/manager_options.h"
#include "cli/usage.h"
#include "instance/node.h"

namespace loopfs::cli {
namespace {

constexpr int kUsage = 2;

struct Parser {
  CLI::App app{"Private loop devices for a sandbox, without privileges."};
  CLI::App* run_command;
  CLI::App* doctor_command;
  RunOptions run;
  DoctorOptions doctor;
  std::vector<std::string> binds;
  uint32_t max = 0;
  ManagerCommandLine manager;

  Parser() : manager(prepare()) {}

  // The subcommands of the sandbox come first in --help.
  CLI::App& prepare() {
    app.name("loopfs");
    app.set_version_flag("--version", "loopfs " LOOPFS_VERSION);
    app.require_subcommand(1);
    run_command = add_command(app, "run", "Run a command with loop devices of its own, as root of a sandbox.",
                              "loopfs run [OPTIONS] [--] COMMAND [ARGUMENT...]");
    run_command->add_option("--root", run.root, "Use this directory as the root file system")
        ->type_name("DIR");
    run_command
        ->add_option("--bind", binds, "Show the host's SRC at DST (default: at SRC); may be given again")
        ->type_name("SRC[:DST]")
        ->allow_extra_args(false);
    run_command->add_option("--max", max, "Allow at most this many loop devices")
        ->type_name("N")
        ->check(CLI::Range(1U, instance::kMostDevices));
    run_command
        ->add_option("--engine", run.engine,
                     "What serves the devices: user (loopfs itself), kernel (loopfsd)")
        ->type_name("NAME")
        ->check(CLI::IsMember({"user", "kernel"}))
        ->capture_default_str();
    run_command->add_option("--socket", run.socket, "Where loopfsd listens")
        ->type_name("PATH")
        ->capture_default_str();
    run_command->add_option("--config", run.config, "Read this file in place of loopfs.toml")
        ->type_name("FILE");
    run_command->add_flag("-q,--quiet", run.quiet, "Say nothing but errors");
    doctor_command =
        add_command(app, "doctor", "Tell what this machine has and lacks for `loopfs run`, and of loopfsd.",
                    "loopfs doctor [OPTIONS]");
    doctor_command->add_option("--config", doctor.config, "Read this file in place of loopfs.toml")
        ->type_name("FILE");
    doctor_command->add_option("--socket", doctor.socket, "Where loopfsd listens")
        ->type_name("PATH")
        ->capture_default_str();
    return app;
  }
};

// Where the command begins in the words that follow "run": after the options and their values, and after
// "--". CLI11 must not see the command: it would take the command's options for ours, and its words for
// subcommands.
size_t start_of_command(CLI::App* run_command, const std::vector<std::string>& words) {
  size_t at = 0;
  while (at < words.size() && words[at] != "--" && words[at].size() > 1 && words[at][0] == '-') {
    const CLI::Option* option = run_command->get_option_no_throw(words[at]);  // none for "--max=5"
    at += option != nullptr && option->get_items_expected_min() > 0 ? 2 : 1;
  }
  return std::min(at, words.size());
}

std::optional<sandbox::Bind> parse_bind(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string source = text.substr(0, colon);
  const std::string destination = colon == std::string::npos ? source : text.substr(colon + 1);
  if (source.empty() || destination.empty()) return std::nullopt;
  sandbox::Bind bind;
  bind.source = std::filesystem::absolute(source).lexically_normal();
  bind.destination = std::filesystem::absolute(destination).lexically_normal();
  return bind;
}

// One line, whatever CLI11 put into it.
Message usage_error(std::string text, const std::string& help) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return {kUsage, "loopfs: " + text + " (try `" + help + "`)"};
}

CommandLine finish_run(Parser& parser, std::vector<std::string> command) {
  constexpr const char* kHelp = "loopfs run --help";
  RunOptions& run = parser.run;
  for (const std::string& text : parser.binds) {
    auto bind = parse_bind(text);
    if (!bind) return usage_error("--bind: not of the form SRC[:DST]: '" + text + "'", kHelp);
    run.binds.push_back(*std::move(bind));
  }
  if (parser.run_command->count("--max") > 0) run.max = parser.max;
  if (parser.run_command->count("--root") > 0 && run.root.empty())
    return usage_error("--root: no directory", kHelp);
  if (!run.root.empty()) run.root = std::filesystem::absolute(run.root).lexically_normal();
  if (command.empty() || command.front().empty()) return usage_error("run: no command given", kHelp);
  run.command = std::move(command);
  return std::move(run);
}

CLI::App* command_of(Parser& parser, const std::vector<std::string>& words) {
  const auto all = parser.app.get_subcommands(nullptr);
  const auto found = std::ranges::find_if(
      all, [&](const CLI::App* command) { return !words.empty() && command->get_name() == words.front(); });
  return found == all.end() ? nullptr : *found;
}

std::string help_for(Parser& parser, const std::vector<std::string>& words) {
  const CLI::App* command = command_of(parser, words);
  return command != nullptr ? "loopfs " + command->get_name() + " --help" : "loopfs --help";
}

CommandLine finish(Parser& parser, const std::vector<std::string>& words) {
  ManagerCommandLine& manager = parser.manager;
  if (auto checked = manager.check(); !checked)
    return usage_error(checked.error().what, help_for(parser, words));
  if (manager.is_list()) return manager.list;
  if (manager.is_inspect()) return manager.inspect;
  if (manager.is_events()) return manager.events;
  if (manager.is_limit()) return manager.limit;
  if (manager.is_attach()) return manager.attach;
  if (manager.is_detach()) return manager.detach;
  return parser.doctor;
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& words) {
  Parser parser;
  std::vector<std::string> ours = words;
  std::vector<std::string> command;
  const bool is_run = !words.empty() && words.front() == "run";
  if (is_run) {
    ours.assign(words.begin() + 1, words.end());
    const size_t start = start_of_command(parser.run_command, ours);
    command.assign(ours.begin() + static_cast<ptrdiff_t>(start), ours.end());
    if (!command.empty() && command.front() == "--") command.erase(command.begin());
    ours.resize(start);
    ours.insert(ours.begin(), "run");
  }
  try {
    std::reverse(ours.begin(), ours.end());  // as CLI11 wants it
    parser.app.parse(std::move(ours));
  } catch (const CLI::CallForHelp&) {
    const CLI::App* asked = &parser.app;
    if (const auto parsed = parser.app.get_subcommands(); !parsed.empty()) asked = parsed.front();
    std::string text = asked->help();
    text.erase(text.find_last_not_of('\n') + 1);
    return Message{0, std::move(text)};
  } catch (const CLI::CallForVersion& version) {
    return Message{0, version.what()};
  } catch (const CLI::ParseError& error) {
    const bool unknown =
        !words.empty() && !words.front().starts_with('-') && command_of(parser, words) == nullptr;
    return usage_error(unknown ? "no such command: '" + words.front() + "'" : error.what(),
                       help_for(parser, words));
  }
  if (is_run) return finish_run(parser, std::move(command));
  return finish(parser, words);
}

}  // namespace loopfs::cli
