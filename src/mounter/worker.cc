#include "mounter/worker.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "mounter/caller_side.h"
#include "mounter/flush.h"
#include "mounter/fuse_request.h"
#include "mounter/outcome.h"
#include "mounter/program_mount.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"

namespace loopfs::mounter {
namespace {

constexpr long kFuseMagic = 0x65735546;  // linux/magic.h FUSE_SUPER_MAGIC
constexpr uint64_t kMountAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                      MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME |
                                      MOUNT_ATTR_NOSYMFOLLOW;

class Worker {
 public:
  Worker(const Request& request, const std::vector<Fd>& fds) : request_(request), caller_(request, fds) {}

  Outcome run() {
    if (request_.operation == Operation::kMount) return mount_by_program(request_, caller_);
    if (auto entered = caller_.enter(); !entered) return failed(entered.error());
    switch (request_.operation) {
      case Operation::kStat:
        return stat();
      case Operation::kUnmount:
        return unmount();
      case Operation::kClone:
        return clone();
      case Operation::kRemount:
        return remount();
      case Operation::kServed:
        return mount_served();
      case Operation::kAttach:
        return attach_given();
      case Operation::kBindAcross:
        return bind_across();
      case Operation::kMount:
        break;
    }
    return failed({EINVAL, "operation"});
  }

 private:
  Outcome stat() const {
    auto place = caller_.open_place();
    if (!place) return failed(place.error());
    auto status = caller_.look(*place);
    if (!status) return failed(status.error());
    struct statfs filesystem;
    Reply reply;
    reply.device = status->device;
    reply.node = status->node;
    reply.inode = status->inode;
    reply.mode = status->mode;
    reply.mount_root = status->mount_root;
    // Only where it matters: statfs(2) does ask the file system.
    const bool may_be_node = S_ISBLK(reply.mode) || S_ISREG(reply.mode);
    reply.on_fuse =
        may_be_node && ::fstatfs(place->get(), &filesystem) == 0 && filesystem.f_type == kFuseMagic;
    return done(reply);
  }

  Outcome unmount() const {
    Reply reply;
    {
      auto place = caller_.open_place();
      if (!place) return failed(place.error());
      auto status = caller_.look(*place);
      if (!status) return failed(status.error());
      reply.device = status->device;
    }  // an open descriptor would make the mount busy
    if (::umount2(request_.path.c_str(), static_cast<int>(request_.flags)) != 0)
      return failed({errno, "umount2"});
    return done(reply);
  }

  Outcome remount() const {
    const bool read_only = (request_.flags & MS_RDONLY) != 0;
    if (read_only)
      flush_program(request_.path);  // what it holds back goes to the image, as from the kernel's cache
    if (::mount(nullptr, request_.path.c_str(), nullptr, request_.flags, nullptr) != 0) {
      return failed({errno, "mount"});
    }
    return done();
  }

  Outcome clone() const {
    auto tree = caller_.copy_of_mount(request_.device);
    if (!tree) return failed(tree.error());
    // Those of the new mount, not of the one that it is a copy of.
    if (auto set = sys::set_mount_attributes(tree->get(), request_.attributes, kMountAttributes, false);
        !set) {
      return failed(set.error());
    }
    return attach(tree->get(), request_.device);
  }

  Outcome attach_given() const {
    auto device = sys::device_of_mount(caller_.fd(kImage));
    if (!device) return failed(device.error());
    return attach(caller_.fd(kImage), *device);
  }

  // A program of the caller's own (ntfs-3g, as mount.ntfs) is to serve the target.
  Outcome mount_served() const {
    if (request_.options.empty()) return failed({EINVAL, "data"});
    FuseRequest fuse = fuse_of(request_.options.front());
    fuse.channel = Fd(::fcntl(caller_.fd(kImage), F_DUPFD_CLOEXEC, 0));
    auto mounted = make_fuse_mount(request_, fuse);
    if (!mounted) return failed(mounted.error());
    auto device = sys::device_of_mount(mounted->get());
    if (!device) return failed(device.error());
    return attach(mounted->get(), *device);
  }

  Outcome bind_across() const {
    auto tree = sys::clone_tree(AT_FDCWD, request_.device_path, true);
    if (!tree) return failed(tree.error());
    auto device = sys::device_of_mount(tree->get());
    if (!device) return failed(device.error());
    if (auto entered = CallerSide::enter_mount_namespace(caller_.fd(kImage)); !entered)
      return failed(entered.error());
    return attach(tree->get(), *device);
  }

  Outcome attach(int mount, dev_t device) const {
    auto target = caller_.open_target();
    if (!target) return failed(target.error());
    if (auto attached = caller_.attach(mount, *target); !attached) return failed(attached.error());
    return done({.device = device});
  }

  const Request& request_;
  const CallerSide caller_;
};

}  // namespace

void serve_request(const Request& request, std::vector<Fd> fds) {
  if (fds.size() < kCallerFds) return;  // the supervisor sees the socket close
  const Outcome outcome = Worker(request, fds).run();
  // Before the answer: a mount that we still had open would be busy to an umount(8) that follows at once.
  for (size_t i = 0; i < fds.size(); ++i) {
    if (i != kReplySocket) fds[i].reset();
  }
  std::vector<int> borrowed;
  for (const auto& fd : outcome.fds) borrowed.push_back(fd.get());
  (void)sys::send_message(fds[kReplySocket].get(), encode(outcome.reply), borrowed);
}

}  // namespace loopfs::mounter
