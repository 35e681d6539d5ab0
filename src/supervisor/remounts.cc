#include "supervisor/remounts.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "supervisor/decision.h"

namespace loopfs::supervisor {

Answer Remounts::open_tree(const Target& target) {
  const auto& arguments = target.notification().arguments;
  auto path = target.text(1);
  // From a descriptor of a directory mount(8) does not come.
  if (!path || path->empty()) return std::nullopt;
  if (path->front() != '/' && static_cast<int>(arguments[0]) != AT_FDCWD) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  const bool follow = (arguments[2] & AT_SYMLINK_NOFOLLOW) == 0;
  const auto looked = look(*tables_.agent, target, *places, *path, follow);
  if (!looked || looked->reply.error != 0) return std::nullopt;
  return looked->reply.mount_root && tables_.has(looked->reply.device) ? Answer(ENOSYS) : std::nullopt;
}

Answer Remounts::remount(const Target& target) {
  auto place = target.text(1);
  if (!place) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  auto looked = look(*tables_.agent, target, *places, *place, true);
  if (!looked || looked->reply.error != 0 || !looked->reply.mount_root) return std::nullopt;
  const dev_t device = looked->reply.device;
  if (const auto known = tables_.mounts.find(device))
    return remount_program(target, std::move(*places), *place, *known);
  if (const auto known = tables_.kernel.find(device)) return remount_kernels(target, *places, *place, *known);
  return std::nullopt;
}

Answer Remounts::remount_program(const Target& target, std::vector<Fd> places, const std::string& place,
                                 const Mounts::Known& known) {
  const uint64_t flags = without_magic(target.notification().arguments[3]);
  if (known.read_only && (flags & MS_RDONLY) == 0)
    return remount_writable(target, std::move(places), place, known);
  mounter::Request request;
  request.operation = mounter::Operation::kRemount;
  request.path = target.visible_path(place);
  request.flags = flags;
  const int code = code_of_request(*tables_.agent, target, places, std::move(request));
  if (code == 0) tables_.mounts.set_superblock_read_only(known.device, (flags & MS_RDONLY) != 0);
  return code;
}

// A program that was started read-only cannot be made to write: another one takes its place, if nobody uses
// the mount at this moment (EBUSY).
Answer Remounts::remount_writable(const Target& target, std::vector<Fd> places, const std::string& place,
                                  const Mounts::Known& known) {
  Wanted wanted;
  wanted.source_path = known.source;
  wanted.target_path = target.visible_path(place);
  wanted.type = known.type;
  wanted.data = known.data;
  wanted.flags = without_magic(target.notification().arguments[3]) & ~uint64_t{MS_REMOUNT};
  wanted.places = std::move(places);
  wanted.node = known.node;
  wanted.name = known.source;
  wanted.instance = known.instance;
  wanted.inode = known.inode;
  wanted.replaced = known.device;
  const Turns::Turn turn(tables_.turns, wanted.instance, wanted.inode);
  if (known.node && !known.hold) return EBUSY;  // the program has a claim of its own on the device
  if (known.hold && known.hold->read_only()) return EROFS;
  const mounter::Program* program = tables_.programs.find(wanted.type);
  const auto executable = program != nullptr ? mounter::locate_program(*program) : std::nullopt;
  if (!executable) return EROFS;
  Mount record = wanted.record();
  record.hold = known.hold;
  record.program = program->command.front();
  return launcher_.start(target, wanted, *program, *executable, known.hold.get(), std::move(record));
}

// The superblock by loopfsd, the flags of the mount by the sandbox itself.
Answer Remounts::remount_kernels(const Target& target, const std::vector<Fd>& places,
                                 const std::string& place, const KernelMounts::Known& known) {
  auto data = target.text(4);
  if (!data) return code_of(data.error());
  const uint64_t flags = without_magic(target.notification().arguments[3]);
  auto remounted = tables_.kernel.remount(
      {.node = known.node, .type = known.type, .flags = flags, .data = std::move(*data)});
  if (!remounted) return code_of(remounted.error());
  mounter::Request request;
  request.operation = mounter::Operation::kRemount;
  request.path = target.visible_path(place);
  // Those two are locked: the kernel would refuse to take them away.
  request.flags = flags | MS_BIND | MS_NOSUID | MS_NODEV;
  return code_of_request(*tables_.agent, target, places, std::move(request));
}

}  // namespace loopfs::supervisor
