#include "supervisor/loop_ioctls.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <fstream>

#include "sys/file_identity.h"
#include "sys/pidfd.h"
#include "sys/remote_memory.h"

namespace loopfs::supervisor {
namespace {

using sys::CallResult;
using Answer = std::optional<CallResult>;

constexpr unsigned long kTrapped[] = {LOOP_CONFIGURE,    LOOP_SET_FD,        LOOP_GET_STATUS,
                                      LOOP_GET_STATUS64, LOOP_CTL_ADD,       LOOP_CTL_REMOVE,
                                      LOOP_CTL_GET_FREE, BLKRRPART,          BLKPG,
                                      LOOP_SET_CAPACITY, LOOP_SET_DIRECT_IO, LOOP_SET_BLOCK_SIZE};

template <typename T>
Result<T> read_argument(const Target& target, uint64_t address) {
  T value{};
  auto read =
      sys::read_memory(target.notification().tid, address, std::as_writable_bytes(std::span(&value, 1)));
  if (!read || !target.valid()) return fail(EFAULT, "read the argument");
  return value;
}

template <typename T>
Answer write_argument(const Target& target, uint64_t address, const T& value) {
  auto written = sys::write_memory(target.notification().tid, address, std::as_bytes(std::span(&value, 1)));
  return CallResult(written ? 0 : EFAULT);
}

// Whether the caller's descriptor closes at execve(2); "flags:" in octal.
bool closes_at_exec(pid_t tid, int fd) {
  std::ifstream file(fmt::format("/proc/{}/fdinfo/{}", tid, fd));
  for (std::string word; file >> word;) {
    if (word != "flags:") continue;
    file >> word;
    return (std::strtoul(word.c_str(), nullptr, 8) & O_CLOEXEC) != 0;
  }
  return false;
}

template <typename Info>
Answer get_status(const Target& target, int device, unsigned long command, uint32_t number) {
  Info info{};
  if (::ioctl(device, command, &info) != 0) return CallResult(errno);
  info.lo_number = static_cast<decltype(info.lo_number)>(number);
  return write_argument(target, target.notification().arguments[2], info);
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

std::span<const unsigned long> trapped_loop_ioctls() {
  return kTrapped;
}

Answer LoopIoctls::perform(const Target& target) const {
  const sys::Notification& notification = target.notification();
  const int number = static_cast<int>(notification.arguments[0]);
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
      if (!call.block) return std::nullopt;
      return get_status<loop_info>(target, call.file.get(), LOOP_GET_STATUS, node->device);
    case LOOP_GET_STATUS64:
      if (!call.block) return std::nullopt;
      return get_status<loop_info64>(target, call.file.get(), LOOP_GET_STATUS64, node->device);
    case BLKRRPART:
    case BLKPG:
      return partitions(call);
    case LOOP_SET_CAPACITY:
    case LOOP_SET_DIRECT_IO:
    case LOOP_SET_BLOCK_SIZE:
      return change(call);
    default:
      return control(call);
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
  options_.changed();
  // From here on the device is bound; what fails leaves the caller with a descriptor that works as well.
  const int flags = ::fcntl(call.file.get(), F_GETFL);
  const Fd device(
      ::openat(options_.nodes, call.node.name().c_str(), (flags & (O_ACCMODE | O_DIRECT)) | O_CLOEXEC));
  const int number = static_cast<int>(call.target.notification().arguments[0]);
  if (device.valid()) {
    (void)sys::replace_descriptor(call.target.listener(), call.target.notification().id, device.get(), number,
                                  closes_at_exec(tid, number));
  }
  return CallResult(0);
}

Answer LoopIoctls::control(const Call& call) const {
  if (call.node.kind != engine::NodeId::Kind::kControl) return std::nullopt;
  const int result = ::ioctl(call.file.get(), call.command, call.argument);
  if (result < 0) return CallResult(errno);
  options_.changed();
  return CallResult::of_value(result);
}

// What losetup(8) asks for on a descriptor that cannot write, which takes CAP_SYS_ADMIN: on one that can, it does not.
Answer LoopIoctls::change(const Call& call) const {
  const bool can_write = (::fcntl(call.file.get(), F_GETFL) & O_ACCMODE) != O_RDONLY;
  if (!call.block || can_write || !call.target.may_administrate()) return std::nullopt;
  const Fd device(::openat(options_.nodes, call.node.name().c_str(), O_RDWR | O_CLOEXEC));
  if (!device.valid()) return std::nullopt;
  return CallResult(::ioctl(device.get(), call.command, call.argument) == 0 ? 0 : errno);
}

Answer LoopIoctls::partitions(const Call& call) const {
  // As the kernel has it: of the whole device only.
  if (!call.block || call.node.kind != engine::NodeId::Kind::kDevice) return std::nullopt;
  if (!call.target.may_administrate()) return std::nullopt;
  CallResult result(0);
  if (call.command == BLKRRPART) {
    result = result_of(options_.reread_partitions(call.node.device, call.file.get()));
  } else {
    auto argument = read_argument<blkpg_ioctl_arg>(call.target, call.argument);
    if (!argument) return CallResult(EFAULT);
    auto partition = read_argument<blkpg_partition>(call.target, reinterpret_cast<uint64_t>(argument->data));
    if (!partition) return CallResult(EFAULT);
    if (argument->op < BLKPG_ADD_PARTITION || argument->op > BLKPG_RESIZE_PARTITION || partition->pno <= 0 ||
        partition->start < 0 || partition->length < 0) {
      return CallResult(EINVAL);
    }
    result = result_of(options_.edit_partition(call.node.device, {.operation = argument->op,
                                                                  .number = partition->pno,
                                                                  .start = partition->start,
                                                                  .length = partition->length}));
  }
  options_.changed();
  return result;
}

}  // namespace loopfs::supervisor
