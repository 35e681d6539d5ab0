#include "supervisor/node_calls.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "fusefs/visit.h"
#include "supervisor/caller_memory.h"
#include "sys/file_identity.h"

namespace loopfs::supervisor {
namespace {

struct ::statx_timestamp timestamp(const timespec& time) {
  struct ::statx_timestamp stamp {};
  stamp.tv_sec = time.tv_sec;
  stamp.tv_nsec = static_cast<uint32_t>(time.tv_nsec);
  return stamp;
}

// `known`: what the kernel tells of the descriptor to who asks for nothing, such as its mount.
struct ::statx extended(const struct stat& status, struct ::statx known) {
  known.stx_mask = (known.stx_mask & ~STATX_BASIC_STATS) | STATX_BASIC_STATS;
  known.stx_blksize = static_cast<uint32_t>(status.st_blksize);
  known.stx_nlink = static_cast<uint32_t>(status.st_nlink);
  known.stx_uid = status.st_uid;
  known.stx_gid = status.st_gid;
  known.stx_mode = static_cast<uint16_t>(status.st_mode);
  known.stx_ino = status.st_ino;
  known.stx_size = static_cast<uint64_t>(status.st_size);
  known.stx_blocks = static_cast<uint64_t>(status.st_blocks);
  known.stx_atime = timestamp(status.st_atim);
  known.stx_mtime = timestamp(status.st_mtim);
  known.stx_ctime = timestamp(status.st_ctim);
  known.stx_rdev_major = major(status.st_rdev);
  known.stx_rdev_minor = minor(status.st_rdev);
  known.stx_dev_major = major(status.st_dev);
  known.stx_dev_minor = minor(status.st_dev);
  return known;
}

}  // namespace

#ifdef __x86_64__

bool NodeCalls::is_for(const sys::Notification& notification) {
  if (notification.architecture != AUDIT_ARCH_X86_64) return false;
  constexpr int kCalls[] = {SYS_fstat, SYS_newfstatat, SYS_statx, SYS_ftruncate};
  return std::ranges::find(kCalls, notification.number) != std::end(kCalls);
}

std::optional<sys::CallResult> NodeCalls::perform(const Target& target) const {
  const sys::Notification& call = target.notification();
  if (call.number == SYS_newfstatat || call.number == SYS_statx) {
    const auto path = target.text(1);
    if (!path || !path->empty()) return std::nullopt;
  }
  struct ::statx known {};
  const auto identity = sys::file_identity_of(call.tid, static_cast<int>(call.arguments[0]), &known);
  if (!identity || !target.valid() || identity->device != device_) return std::nullopt;
  const auto inode = fusefs::inode_of_number(identity->inode);
  const auto attributes = inode ? engine_->attributes(inode->node) : std::nullopt;
  if (!attributes) return std::nullopt;
  if (call.number == SYS_ftruncate) return sys::CallResult(EINVAL);
  struct stat status = fusefs::attributes_of({inode->node, fusefs::Flavour::kDevice}, *attributes);
  status.st_dev = device_;
  if (call.number == SYS_fstat) return write_argument(target, call.arguments[1], status);
  if (call.number == SYS_newfstatat) return write_argument(target, call.arguments[2], status);
  return write_argument(target, call.arguments[4], extended(status, known));
}

#else

bool NodeCalls::is_for(const sys::Notification&) {
  return false;
}
std::optional<sys::CallResult> NodeCalls::perform(const Target&) const {
  return std::nullopt;
}

#endif

}  // namespace loopfs::supervisor
