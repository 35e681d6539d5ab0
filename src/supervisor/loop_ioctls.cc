#include "supervisor/loop_ioctls.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "engine/geometry.h"
#include "supervisor/caller_memory.h"
#include "sys/file_identity.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/procfs.h"

namespace loopfs::supervisor {
namespace {

using sys::CallResult;
using Answer = std::optional<CallResult>;

// Whether the caller's descriptor closes at execve(2).
bool closes_at_exec(pid_t tid, int fd) {
  return (sys::flags_of_fd(tid, fd).value_or(0) & O_CLOEXEC) != 0;
}

// What is asked of a file of loopfsd's is for loopfsd to answer. Not even a duplicate is made of it: the close of that would
// count as one of the caller's.
bool is_block_device(pid_t tid, int fd) {
  const std::string path = fmt::format("/proc/{}/fd/{}", tid, fd);
  struct statx known = {};
  return ::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &known) == 0 &&
         S_ISBLK(known.stx_mode);
}

// Programs whose structures differ from ours: where one is passed, the kernel translates, and decides.
bool has_other_structures(const sys::Notification& notification) {
  const bool narrow =
      notification.architecture == AUDIT_ARCH_I386 || notification.architecture == AUDIT_ARCH_ARM;
  const auto command = static_cast<unsigned>(notification.arguments[1]);
  return narrow && (command == LOOP_SET_STATUS || command == LOOP_GET_STATUS || command == BLKPG ||
                    command == HDIO_GETGEO);
}

CallResult result_of(const Result<void>& result) {
  return CallResult(result ? 0 : result.error().code);
}

}  // namespace

struct LoopIoctls::Call {
  const Target& target;
  Fd file;  // a duplicate of the caller's descriptor
  engine::NodeId node;
  bool block = false;  // it is open on the kernel device; else on the daemon's file
  unsigned command = 0;
  uint64_t argument = 0;
};

const std::vector<unsigned long>& trapped_loop_ioctls() {
  static const std::vector<unsigned long> commands = [] {
    std::vector<unsigned long> trapped;
    for (const auto& rule : engine::ioctl_rules()) {
      if (rule.supervised) trapped.push_back(rule.command);
    }
    return trapped;
  }();
  return commands;
}

Answer LoopIoctls::perform(const Target& target) const {
  const sys::Notification& notification = target.notification();
  const int number = static_cast<int>(notification.arguments[0]);
  const auto* rule = engine::find_ioctl(static_cast<unsigned>(notification.arguments[1]));
  if (!rule || has_other_structures(notification)) return std::nullopt;
  const bool of_any_file = rule->command == LOOP_CONFIGURE || rule->command == LOOP_SET_FD;
  if (!of_any_file && !is_block_device(notification.tid, number)) return std::nullopt;
  auto thread = sys::pidfd_of_thread(notification.tid);
  if (!thread || !target.valid()) return std::nullopt;
  auto file = sys::take_fd(thread->get(), number);
  if (!file || !target.valid()) return std::nullopt;  // the kernel has the errno
  const auto identity = sys::file_identity(file->get());
  if (!identity || identity->device != options_.instance_device) return std::nullopt;
  const auto node = options_.node_of_inode(identity->inode);
  struct stat status = {};
  if (!node || ::fstat(file->get(), &status) != 0) return std::nullopt;
  const Call call{.target = target,
                  .file = std::move(*file),
                  .node = *node,
                  .block = S_ISBLK(status.st_mode),
                  .command = static_cast<unsigned>(notification.arguments[1]),
                  .argument = notification.arguments[2]};
  switch (call.command) {
    case LOOP_CONFIGURE:
    case LOOP_SET_FD:
      return configure(call);
    case LOOP_GET_STATUS:
      return get_status<loop_info>(call);
    case LOOP_GET_STATUS64:
      return get_status<loop_info64>(call);
    case BLKPG:
      return edit_partitions(call);
    case HDIO_GETGEO:
      return get_geometry(call);
    default:
      return rule->on_behalf() ? on_behalf(call, *rule) : std::nullopt;
  }
}

Answer LoopIoctls::configure(const Call& call) const {
  // A device that is bound has its answer from the kernel: EBUSY.
  if (call.block || call.node.kind != engine::NodeId::Kind::kDevice) return std::nullopt;
  loop_config config{};
  if (call.command == LOOP_CONFIGURE) {
    auto given = read_argument<loop_config>(call.target, call.argument);
    if (!given) return CallResult(EFAULT);
    config = *given;
  } else {
    config.fd = static_cast<uint32_t>(call.argument);
  }
  const pid_t tid = call.target.notification().tid;
  auto thread = sys::pidfd_of_thread(tid);
  auto backing = thread ? sys::take_fd(thread->get(), static_cast<int>(config.fd)) : propagate(thread);
  if (!call.target.valid()) return CallResult(EINTR);
  if (!backing) return CallResult(EBADF);
  config.fd = static_cast<uint32_t>(backing->get());
  if (::ioctl(call.file.get(), LOOP_CONFIGURE, &config) != 0) return CallResult(errno);
  // From here on the device is bound; what fails leaves the caller with a descriptor that works as well.
  // A claim, which nobody can see of a descriptor but by trying another one, lasts as long as the file that has it.
  const std::string name = call.node.name();
  const auto claim = sys::open_on_mount(options_.nodes, name, O_RDONLY | O_NONBLOCK | O_EXCL);
  if (!claim && claim.error().code == EBUSY) return CallResult(0);
  const int flags = ::fcntl(call.file.get(), F_GETFL);
  const auto device = sys::open_on_mount(options_.nodes, name, flags & (O_ACCMODE | O_DIRECT));
  const int number = static_cast<int>(call.target.notification().arguments[0]);
  if (device) {
    (void)sys::replace_descriptor(call.target.listener(), call.target.notification().id, device->get(),
                                  number, closes_at_exec(tid, number));
  }
  return CallResult(0);
}

// Where the partition starts, and no more.
Answer LoopIoctls::get_geometry(const Call& call) const {
  const uint64_t start = call.block ? options_.start_of_partition(call.node).value_or(0) : 0;
  if (start == 0 || call.argument == 0) return std::nullopt;
  return write_argument(call.target, call.argument, engine::geometry_of(start));
}

// The sandbox's number of the device, and of a device behind it what stat(2) shows of that in the sandbox.
template <typename Info>
Answer LoopIoctls::get_status(const Call& call) const {
  if (!call.block) return std::nullopt;
  if (call.argument == 0) return CallResult(EINVAL);
  Info info{};
  if (::ioctl(call.file.get(), call.command, &info) != 0) return CallResult(errno);
  info.lo_number = static_cast<decltype(info.lo_number)>(call.node.device);
  const auto behind = info.lo_rdevice != 0 ? options_.node_of_device(info.lo_rdevice) : std::nullopt;
  struct stat status = {};
  if (behind && ::fstatat(options_.nodes, behind->name().c_str(), &status, 0) == 0) {
    info.lo_device = static_cast<decltype(info.lo_device)>(status.st_dev);
    info.lo_inode = static_cast<decltype(info.lo_inode)>(status.st_ino);
  }
  return write_argument(call.target, call.argument, info);
}

Answer LoopIoctls::on_behalf(const Call& call, const engine::IoctlRule& rule) const {
  // A file that was opened before the device was bound is loopfsd's already.
  if (!call.block) return std::nullopt;
  const bool writer = (::fcntl(call.file.get(), F_GETFL) & O_ACCMODE) != O_RDONLY;
  if (rule.right == engine::Right::kWriter && writer) return std::nullopt;
  const pid_t tid = call.target.notification().tid;
  if (!options_.may_administrate(tid) || !call.target.valid()) return std::nullopt;
  std::vector<std::byte> bytes(rule.size);
  if (!bytes.empty()) {
    // As blkdev_bszset() has it; the others find the fault.
    if (call.argument == 0 && call.command == BLKBSZSET) return CallResult(EINVAL);
    const auto read = sys::read_memory(tid, call.argument, bytes);
    if (!read || !call.target.valid()) return CallResult(EFAULT);
  }
  const uint64_t value = rule.argument == engine::Argument::kValue ? call.argument : 0;
  auto done = options_.ioctl(call.node.device, call.file.get(), call.command, value, bytes);
  return result_of(done);
}

Answer LoopIoctls::edit_partitions(const Call& call) const {
  if (!call.block) return std::nullopt;
  if (!options_.may_administrate(call.target.notification().tid) || !call.target.valid()) return std::nullopt;
  auto argument = read_argument<blkpg_ioctl_arg>(call.target, call.argument);
  if (!argument) return CallResult(EFAULT);
  auto partition = read_argument<blkpg_partition>(call.target, reinterpret_cast<uint64_t>(argument->data));
  if (!partition) return CallResult(EFAULT);
  if (call.node.kind != engine::NodeId::Kind::kDevice) return CallResult(EINVAL);
  if (argument->op < BLKPG_ADD_PARTITION || argument->op > BLKPG_RESIZE_PARTITION || partition->pno <= 0 ||
      partition->start < 0 || partition->length < 0) {
    return CallResult(EINVAL);
  }
  auto done = options_.edit_partition(call.node.device, {.operation = argument->op,
                                                         .number = partition->pno,
                                                         .start = partition->start,
                                                         .length = partition->length});
  return result_of(done);
}

}  // namespace loopfs::supervisor
