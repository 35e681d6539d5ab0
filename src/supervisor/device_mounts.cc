#include "supervisor/device_mounts.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "engine/device_numbers.h"
#include "fusefs/node_table.h"
#include "mounter/fuse_request.h"
#include "mounter/mount_plan.h"
#include "mounter/probe.h"
#include "supervisor/decision.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"

namespace loopfs::supervisor {
namespace {

constexpr int kTries = 10;  // to mount once more what may be at its end

}  // namespace

DeviceMounts::DeviceMounts(MountTables& tables, Launcher& launcher, std::set<std::string> device_types)
    : tables_(tables), launcher_(launcher), device_types_(std::move(device_types)) {}

std::optional<engine::NodeId> DeviceMounts::node_of(const mounter::Reply& found) const {
  if (!found.on_fuse) return std::nullopt;
  const bool own = found.device == tables_.instance_device;
  if (S_ISBLK(found.mode))
    return own ? tables_.engine->node_of_device(found.node) : engine::node_of_device(found.node);
  // By the number of a descriptor that is one of the path alone (fusefs/sandbox_server.cc).
  const auto inode = own ? fusefs::inode_of_number(found.inode) : std::nullopt;
  if (!inode || inode->node.kind == engine::NodeId::Kind::kControl) return std::nullopt;
  return inode->node;
}

Answer DeviceMounts::mount(const Target& target) {
  Wanted wanted;
  auto source = target.text(0);
  auto place = target.text(1);
  auto type = target.text(2);
  if (!source || !place || !type) return std::nullopt;
  // A type that we do not know may be one that needs no device, of a module that is yet to be loaded.
  const bool wants_device = device_types_.contains(*type);
  // Nobody knows it, so that the kernel says ENODEV.
  if (!wants_device && !mounter::is_known_filesystem(*type)) return std::nullopt;
  auto places = target.places();
  if (!places) return places.error().code == EPERM ? Answer(EPERM) : std::nullopt;
  if (source->empty()) return wants_device ? without_source(target, *places, *place) : std::nullopt;
  auto looked = look(*tables_.agent, target, *places, *source, true);
  if (!looked) return code_of(looked.error());
  const mounter::Reply& found = looked->reply;
  if (found.error != 0) return wants_device ? Answer(found.error) : std::nullopt;
  const bool own = found.device == tables_.instance_device;
  const auto node = node_of(found);
  if (!node && !S_ISBLK(found.mode)) return wants_device ? Answer(ENOTBLK) : std::nullopt;
  // Not a node of any instance: the kernel knows what it thinks of that.
  if (!node) return std::nullopt;
  auto data = target.text(4);
  if (!data) return code_of(data.error());
  wanted.source_path = target.visible_path(*source);
  wanted.target_path = target.visible_path(*place);
  wanted.type = std::move(*type);
  wanted.data = std::move(*data);
  wanted.flags = without_magic(target.notification().arguments[3]);
  wanted.places = std::move(*places);
  wanted.name = "/dev/" + node->name();
  wanted.instance = found.device;
  wanted.inode = found.inode;
  if (own) wanted.node = *node;
  return wanted.type == "fuseblk" ? mount_served(target, wanted) : mount_device(target, wanted);
}

// In a user namespace the kernel refuses the type (EPERM) before it would miss the source.
Answer DeviceMounts::without_source(const Target& target, const std::vector<Fd>& places,
                                    const std::string& place) {
  const auto looked = look(*tables_.agent, target, places, place, true);
  return looked && looked->reply.error == 0 ? Answer(EINVAL) : std::nullopt;
}

// mount(8) runs ntfs-3g itself (mount.ntfs), which then asks for "fuseblk": a type that the kernel refuses to
// user namespaces, while it would allow "fuse". EINVAL without a descriptor: mount(8) tries every type that
// there is.
Answer DeviceMounts::mount_served(const Target& target, const Wanted& wanted) {
  const int number = mounter::fuse_of(wanted.data).number;
  if (number < 0) return EINVAL;
  auto pidfd = sys::pidfd_of_thread(target.notification().tid);
  if (!pidfd || !target.valid()) return ESRCH;
  auto channel = sys::take_fd(pidfd->get(), number);
  if (!channel) return EINVAL;
  mounter::Request request;
  request.operation = mounter::Operation::kServed;
  request.path = wanted.target_path;
  request.asked_type = wanted.type;
  request.source = wanted.name;
  request.options = {wanted.data};
  request.attributes = mounter::attributes_of_flags(wanted.flags);
  request.read_only = wanted.read_only();
  const auto pids = sys::pid_namespace_of(target.notification().tid);
  auto answer = ask(*tables_.agent, target, wanted.places, std::move(request), channel->get());
  if (!answer) return code_of(answer.error());
  if (answer->reply.error == 0 && pids) tables_.served.add(answer->reply.device, *pids);
  return answer->reply.error;
}

Answer DeviceMounts::mount_device(const Target& target, const Wanted& wanted) {
  const Turns::Turn turn(tables_.turns, wanted.instance, wanted.inode);
  for (int tries = kTries; const auto known = tables_.mounts.find(wanted.instance, wanted.inode);) {
    if (tables_.mounts.wait_for_end(known->device)) continue;
    const Answer answer = mount_again(target, wanted, *known);
    // Perhaps it is just being unmounted: the kernel would let us wait for that, and start afresh.
    if (answer != EBUSY || --tries == 0) return answer;
    tables_.mounts.wait_for_change();
  }
  if (wanted.node) {
    auto mounted = tables_.kernel.mount(
        {.node = *wanted.node, .type = wanted.type, .flags = wanted.flags, .data = wanted.data});
    if (!mounted) return code_of(mounted.error());
    if (*mounted) return attach_kernels(target, wanted, **mounted);
  }
  return mount_by_program(target, wanted);
}

Answer DeviceMounts::mount_by_program(const Target& target, const Wanted& wanted) {
  // Without a program the image is looked at all the same: mount(8) tries every type of /proc/filesystems on
  // what it does not recognise, and only a file system that is there lacks its program.
  const mounter::Program* known = tables_.programs.find(wanted.type);
  const mounter::Program program = known != nullptr ? *known : mounter::Program{};
  const auto executable = known != nullptr ? mounter::locate_program(program) : std::nullopt;
  Mount record = wanted.record();
  if (known != nullptr) record.program = program.command.front();
  const engine::MountHold* hold = nullptr;
  if (wanted.node) {
    auto held = tables_.engine->hold_for_mount(*wanted.node, !wanted.read_only());
    if (!held) return code_of(held.error());
    record.hold = std::move(*held);
    hold = record.hold.get();
    tables_.invalidate(*wanted.node);  // what is still in the kernel's cache goes to the image first
  }
  const Answer answer =
      launcher_.start(target, wanted, program, executable.value_or(""), hold, std::move(record));
  if (!executable && answer == EPERM) {
    tables_.report(known == nullptr
                       ? fmt::format("mount {}: no FUSE program is known for {}; loopfs.toml can name one",
                                     wanted.name, wanted.type)
                       : fmt::format("mount {}: {} is not installed; the package {} has it", wanted.name,
                                     program.command.front(), program.package));
  }
  return answer;
}

// The same superblock at one more place.
Answer DeviceMounts::mount_again(const Target& target, const Wanted& wanted, const Mounts::Known& known) {
  // A read-only file system does not mind being asked for writing; the kernel minds the two together else.
  const mounter::Program* program = tables_.programs.find(known.type);
  const bool never_written = program != nullptr && program->read_only;
  if (known.superblock_read_only != wanted.read_only() && !never_written) return EBUSY;
  if (!mounter::type_accepts(wanted.type, known.type)) return EBUSY;
  if (program != nullptr && !mounter::plan_mount(wanted.flags, wanted.data, *program)) return EINVAL;
  mounter::Request request;
  request.operation = mounter::Operation::kClone;
  request.path = wanted.target_path;
  request.device = known.device;
  request.attributes = mounter::attributes_of_flags(wanted.flags);
  return code_of_request(*tables_.agent, target, wanted.places, std::move(request));
}

// From here on it is between the sandbox and the kernel, but for what KernelMounts says.
Answer DeviceMounts::attach_kernels(const Target& target, const Wanted& wanted, const Fd& mount) {
  if (const auto device = sys::device_of_mount(mount.get()))
    tables_.kernel.add(*device, {.node = *wanted.node, .type = wanted.type});
  mounter::Request request;
  request.operation = mounter::Operation::kAttach;
  request.path = wanted.target_path;
  return code_of_request(*tables_.agent, target, wanted.places, std::move(request), mount.get());
}

}  // namespace loopfs::supervisor
