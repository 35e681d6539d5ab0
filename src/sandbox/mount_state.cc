#include "sandbox/mount_state.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cstdlib>

#include "base/fd.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"

namespace loopfs::sandbox {
namespace {

constexpr char kFolder[] = "/run/mount";
// libmount makes the folder of the file, in a tmpfs of the sandbox's own.
constexpr char kOtherFile[] = "/dev/shm/mount/utab";

}  // namespace

Result<void> separate_mount_state(int root_fd) {
  const auto folder = sys::open_path_in_root(root_fd, kFolder, O_DIRECTORY);
  if (!folder) {
    if (::setenv("LIBMOUNT_UTAB", kOtherFile, 1) != 0) return errno_fail("setenv");
    return {};
  }
  auto state = sys::mount_virtual("tmpfs", {{"source", "tmpfs"}, {"mode", "0755"}},
                                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!state) return propagate(state);
  return sys::attach_mount(state->get(), folder->get(), "");
}

}  // namespace loopfs::sandbox
