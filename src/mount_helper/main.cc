// The program `mount.loopfs`, which mount(8) runs for `mount -t loopfs`. Linked statically: it is bind-mounted
// into containers of any distribution.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "mount_helper/options.h"
#include "sys/mount_api.h"
#include "varlink/client.h"

namespace loopfs::mount_helper {
namespace {

constexpr int kTries = 3;
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

// A new instance, as a detached mount. A daemon that is replaced while it is at it takes what it made with it.
Result<Fd> ask(const Options& options) {
  varlink::Json parameters = varlink::Json::object();
  if (options.max) parameters["max"] = *options.max;
  if (options.uid) parameters["uid"] = *options.uid;
  if (options.gid) parameters["gid"] = *options.gid;
  if (options.mode) parameters["mode"] = *options.mode;
  for (int tries = 0;; ++tries) {
    auto client = varlink::Client::connect(options.socket);
    if (!client) return propagate(client, "ask loopfsd (is it running?)");
    auto reply = client->call("io.loopfs.Manager.Mount", parameters);
    const bool gone = !reply && (reply.error().code == EPIPE || reply.error().code == ECONNRESET);
    if (gone && tries < kTries) continue;
    if (!reply) return propagate(reply);
    if (reply->fds.size() != 1) return fail(EPROTO, "loopfsd sent no mount");
    // The next answer says that the daemon has nothing of the mount any more, which would keep it busy.
    (void)client->call("org.varlink.service.GetInfo");
    return std::move(reply->fds.front());
  }
}

Result<void> mount(const Options& options) {
  const Fd directory(::open(options.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return errno_fail("open '{}'", options.directory);
  auto instance = ask(options);
  if (!instance) return propagate(instance);
  if (options.attributes != 0) {
    if (auto set = sys::set_mount_attributes(instance->get(), options.attributes, 0, false); !set) return set;
  }
  if (options.fake) return {};
  return sys::attach_mount(instance->get(), directory.get(), "");
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
