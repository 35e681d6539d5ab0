// The program `mount.loopfs`, which mount(8) runs for `mount -t loopfs`. Linked statically: it is bind-mounted
// into containers of any distribution.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "client/manager_client.h"
#include "mount_helper/options.h"
#include "sys/mount_api.h"

namespace loopfs::mount_helper {
namespace {

constexpr int kUsage = 1, kSystem = 2, kMountFailed = 32;  // as mount(8) has them

constexpr char kHelp[] =
    R"(Usage: mount.loopfs SOURCE DIRECTORY [-sfnv] [-o OPTION[,OPTION...]]

Mounts a new instance of private loop devices, which loopfsd serves. SOURCE means nothing.

Options:
  max=N        at most N devices
  uid=, gid=   owner of the nodes (root)
  mode=        their permissions, octal (0600)
  engine=kernel
  socket=PATH  of loopfsd (/run/loopfs/io.loopfs.Manager)
  ro, nodev, noatime, nodiratime, strictatime)";

Result<void> mount(const Options& options) {
  const Fd directory(::open(options.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_fail("open '{}'", options.directory);
  auto made = client::ManagerClient(options.socket)
                  .mount({.max = options.max, .uid = options.uid, .gid = options.gid, .mode = options.mode});
  if (!made) return propagate(made);
  const int instance = made->mount.get();
  if (options.attributes != 0) {
    if (auto set = sys::set_mount_attributes(instance, options.attributes, 0, false); !set) return set;
  }
  if (options.fake) return {};
  return sys::attach_mount(instance, directory.get(), "");
}

int run(const std::vector<std::string>& words) {
  const auto options = parse(words);
  if (!options) {
    std::fprintf(stderr, "mount.loopfs: %s (try `mount.loopfs --help`)\n", options.error().what.c_str());
    return kUsage;
  }
  if (options->help || options->version) {
    std::printf("%s\n", options->help ? kHelp : "mount.loopfs " LOOPFS_VERSION);
    return 0;
  }
  const auto mounted = mount(*options);
  if (mounted) return 0;
  std::fprintf(stderr, "mount.loopfs: mount on '%s': %s\n", options->directory.c_str(),
               mounted.error().message().c_str());
  return mounted.error().code == EMFILE || mounted.error().code == ENOMEM ? kSystem : kMountFailed;
}

}  // namespace
}  // namespace loopfs::mount_helper

int main(int argc, char** argv) {
  return loopfs::mount_helper::run({argv + (argc > 0 ? 1 : 0), argv + argc});
}
