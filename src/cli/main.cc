// The program `loopfs`: what to do is in the command line, the doing elsewhere.
#include <fmt/format.h>

#include <cstdio>

#include "cli/doctor.h"
#include "cli/options.h"
#include "cli/run.h"

namespace {

using loopfs::cli::DoctorOptions;
using loopfs::cli::Message;
using loopfs::cli::RunOptions;

int act(const RunOptions& options) {
  return loopfs::cli::run(options);
}
int act(const DoctorOptions& options) {
  return loopfs::cli::doctor(options);
}
int act(const Message& message) {
  fmt::print(message.status == 0 ? stdout : stderr, "{}\n", message.text);
  return message.status;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  return std::visit([](const auto& what) { return act(what); }, loopfs::cli::parse_command_line(words));
}
