// How --help of a subcommand begins.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>

namespace loopfs::cli {

// The usage line in full: CLI11 knows neither the command of `run` nor, in a subcommand's help, the program.
class UsageFormatter : public CLI::Formatter {
 public:
  explicit UsageFormatter(std::string words) : words_(std::move(words)) {}
  std::string make_usage(const CLI::App*, std::string) const override { return "Usage: " + words_ + "\n"; }

 private:
  std::string words_;
};

inline CLI::App* add_command(CLI::App& app, const char* name, const char* what, const char* usage) {
  CLI::App* command = app.add_subcommand(name, what);
  command->formatter(std::make_shared<UsageFormatter>(usage));
  return command;
}

}  // namespace loopfs::cli
