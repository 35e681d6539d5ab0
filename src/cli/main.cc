// The program `loopfs`: what to do is in the command line, the doing elsewhere.
#include <fcntl.h>
#include <fmt/format.h>
#include <nss.h>
#include <unistd.h>

#include <cstdio>

#include "cli/attach.h"
#include "cli/doctor.h"
#include "cli/manager_commands.h"
#include "cli/options.h"
#include "cli/run.h"

namespace {

namespace cli = loopfs::cli;

int act(const cli::RunOptions& options) {
  return cli::run(options);
}
int act(const cli::DoctorOptions& options) {
  return cli::doctor(options);
}
int act(const cli::ListOptions& options) {
  return cli::list_instances(options);
}
int act(const cli::InspectOptions& options) {
  return cli::inspect(options);
}
int act(const cli::EventsOptions& options) {
  return cli::follow_events(options);
}
int act(const cli::LimitOptions& options) {
  return cli::limit(options);
}
int act(const cli::AttachOptions& options) {
  return cli::attach(options);
}
int act(const cli::DetachOptions& options) {
  return cli::detach(options);
}
int act(const cli::Message& message) {
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

// A static libc would load the image's libnss_*, which belong to another one.
void keep_to_files() {
#ifdef LOOPFS_STATIC
  ::__nss_configure_lookup("passwd", "files");
#endif
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  keep_to_files();
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  return std::visit([](const auto& what) { return act(what); }, loopfs::cli::parse_command_line(words));
}
