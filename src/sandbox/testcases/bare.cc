// A sandbox whose /dev is a tmpfs, and whose views nobody serves: sandbox_bare [--root DIR] [--bind SRC:DST]... CMD...
// For trying the sandbox without the layers above it.
#include <cstdio>
#include <filesystem>
#include <string>

#include "sandbox/sandbox.h"
#include "sys/mount_api.h"

namespace {

int failed(const loopfs::Error& error) {
  std::fprintf(stderr, "loopfs: %s\n", error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace loopfs;
  sandbox::Options options;
  // "run" and "--" as loopfs itself takes them, so that its tests can be run with this program.
  int next = argc > 1 && std::string(argv[1]) == "run" ? 2 : 1;
  for (; next + 1 < argc && argv[next][0] == '-' && std::string(argv[next]) != "--"; next += 2) {
    const std::string value = argv[next + 1];
    if (std::string(argv[next]) == "--root") {
      options.root = value;
    } else {
      const size_t colon = value.find(':');
      const std::string source = std::filesystem::absolute(value.substr(0, colon));
      options.binds.push_back({source, colon == std::string::npos ? source : value.substr(colon + 1)});
    }
  }
  if (next < argc && std::string(argv[next]) == "--") ++next;
  options.command.assign(argv + next, argv + argc);
  options.mount_instance = []() -> Result<sandbox::InstanceMount> {
    auto mount = sys::mount_virtual("tmpfs", {{"mode", "0755"}}, MOUNT_ATTR_NOSUID);
    if (!mount) return propagate(mount);
    return sandbox::InstanceMount{0, std::move(*mount)};
  };
  options.report = [](const std::string& line) { std::fprintf(stderr, "loopfs: %s\n", line.c_str()); };
  auto made = sandbox::Sandbox::prepare(std::move(options));
  if (!made) return failed(made.error());
  sandbox::Sandbox& box = **made;
  if (auto finished = box.finish_setup(); !finished) return failed(finished.error());
  auto listener = box.take_listener();
  if (!listener) return failed(listener.error());
  if (auto started = box.start_command(); !started) return failed(started.error());
  auto status = box.wait();
  return status ? *status : failed(status.error());
}
