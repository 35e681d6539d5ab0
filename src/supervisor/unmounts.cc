#include "supervisor/unmounts.h"

#include <sys/mount.h>

namespace loopfs::supervisor {

Answer Unmounts::unmount(const Target& target, uint64_t flags) {
  auto place = target.text(0);
  if (!place) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  // The kernel counts who has looked since the last time: we must not.
  if ((flags & MNT_EXPIRE) != 0) return std::nullopt;
  auto looked = look(*tables_.agent, target, *places, *place, (flags & UMOUNT_NOFOLLOW) == 0);
  if (!looked || looked->reply.error != 0) return std::nullopt;
  const dev_t device = looked->reply.device;
  if (!tables_.has(device)) return std::nullopt;
  mounter::Request request;
  request.operation = mounter::Operation::kUnmount;
  request.path = target.visible_path(*place);
  request.follow = (flags & UMOUNT_NOFOLLOW) == 0;
  request.flags = flags & 0xffffffff;
  if (tables_.kernel.find(device)) {
    // It would be for the superblock's owner to force, and does nothing to file systems on devices.
    if ((flags & MNT_FORCE) == 0) return std::nullopt;
    request.flags &= ~uint64_t{MNT_FORCE};
    return code_of_request(*tables_.agent, target, *places, std::move(request));
  }
  // The last close of a device whose file lies there may be under way: the engine answers when that is through.
  (void)tables_.engine->nodes();
  auto programs = tables_.served.programs(device);
  const int code = code_of_request(*tables_.agent, target, *places, std::move(request));
  if (code != 0) return code;
  ServedMounts::wait_for_end(std::move(programs));
  // Who forces or detaches has a reason not to wait for long.
  using After = Mounts::After;
  const After after = (flags & MNT_FORCE) != 0    ? After::kKill
                      : (flags & MNT_DETACH) != 0 ? After::kLeave
                                                  : After::kWait;
  tables_.mounts.wait_for_end(device, after);
  return 0;
}

}  // namespace loopfs::supervisor
