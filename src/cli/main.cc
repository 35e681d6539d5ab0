// The program `loopfs`: what to do is in the command line, the doing elsewhere.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

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

// With one of the standard descriptors closed, the first file that we open would be taken for it.
void open_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  return std::visit([](const auto& what) { return act(what); }, loopfs::cli::parse_command_line(words));
}
