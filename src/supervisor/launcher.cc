#include "supervisor/launcher.h"

namespace loopfs::supervisor {

Answer Launcher::start(const Target& target, const Wanted& wanted, const mounter::Program& program,
                       const std::string& executable, const engine::MountHold* hold, Mount record) {
  auto plan = mounter::plan_mount(wanted.flags, executable.empty() ? std::string() : wanted.data, program);
  if (!plan) {
    tables_.report(fmt::format("mount {}: {}", wanted.name, plan.error().message()));
    return code_of(plan.error());
  }
  mounter::Request request;
  request.operation = mounter::Operation::kMount;
  request.path = wanted.target_path;
  request.asked_type = wanted.type;
  request.source = wanted.name;
  request.executable = executable;
  request.command = program.command;
  request.options = plan->options;
  request.offset_option = program.offset_option;
  request.attributes = plan->attributes;
  request.read_only = plan->read_only;
  request.synchronous = plan->synchronous;
  request.replace = wanted.replaced != 0;
  request.device = wanted.replaced;
  int image = -1;
  // A program that knows no offset would see the whole backing file: it gets the device's own node instead,
  // whose bounds the instance keeps. So does one for an inner sandbox, whose backing file we cannot see.
  const bool whole = hold != nullptr && hold->offset() == 0 && hold->size() + 512 > hold->backing_size();
  if (hold != nullptr && (whole || !program.offset_option.empty())) {
    request.offset = hold->offset();
    request.size = hold->size();
    image = hold->backing_fd();
  } else {
    // ntfs-3g opens its device with O_EXCL, which our claim would refuse: the claim comes when it has done
    // so.
    record.hold.reset();
    request.device_path = wanted.source_path;
    request.image_device = wanted.instance;
    request.image_inode = wanted.inode;
  }
  auto answer = ask(*tables_.agent, target, wanted.places, std::move(request), image);
  if (!answer) return code_of(answer.error());
  if (!answer->reply.line.empty()) tables_.report(answer->reply.line);
  if (answer->reply.error != 0) return answer->reply.error;
  if (answer->fds.size() != 2) return EIO;
  record.device = answer->reply.device;
  record.pidfd = std::move(answer->fds[0]);
  record.channel = std::move(answer->fds[1]);
  record.read_only = record.superblock_read_only = plan->read_only;
  record.data = wanted.data;
  if (record.node && !record.hold) {
    // Not to be had if the program has the claim: then its own descriptor keeps the device.
    auto held = tables_.engine->hold_for_mount(*record.node, !record.read_only);
    if (held) record.hold = std::move(*held);
  }
  if (record.hold && !record.read_only) record.hold->refuse_writers();
  caution(program, *plan, record.source);
  tables_.mounts.add(std::move(record));
  return 0;
}

bool Launcher::is_new(const std::string& text) {
  const std::lock_guard lock(mutex_);
  return told_.insert(text).second;
}

void Launcher::caution(const mounter::Program& program, const mounter::MountPlan& plan,
                       const std::string& source) {
  const std::string& name = program.command.front();
  if (!plan.read_only && !program.caution.empty() && is_new(name))
    tables_.report(fmt::format("mount {}: {}: {}", source, name, program.caution));
  for (const auto& option : plan.unsupported) {
    if (is_new(name + " " + option))
      tables_.report(fmt::format("mount {}: {}: option '{}' has no effect", source, name, option));
  }
}

}  // namespace loopfs::supervisor
