#include "porter/porter.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstring>

#include "porter/kernel_mount.h"
#include "porter/wire.h"
#include "sys/loop_device.h"
#include "sys/pidfd.h"
#include "sys/remote_memory.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

namespace loopfs::porter {
namespace {

constexpr uint64_t kMostMemory = 64 << 10;  // bytes

// An overlay's own type says nothing of its layers, one of which may be a FUSE file system of the container's. FIEMAP is
// answered by the layer that has the file's bytes, and FUSE does not know it.
bool reaches_blocks(int file) {
  fiemap map{};
  map.fm_length = FIEMAP_MAX_OFFSET;
  return ::ioctl(file, FS_IOC_FIEMAP, &map) == 0;
}

// A descriptor of a kernel loop device, or of a partition of one, that came through an instance would have the kernel ask our
// server, from inside the ioctl, what we think of it, and keep the instance for as long as the device is bound. The host's
// own node has no such path.
Result<Fd> host_node(int file, dev_t device, const sys::LoopName& name) {
  const int mode = ::fcntl(file, F_GETFL) & O_ACCMODE;
  auto node = sys::open_loop_device(name.number, name.partition, mode);
  if (!node) return fail(EINVAL, "the backing device is gone");
  const auto given = sys::disk_sequence(file);
  const auto opened = sys::disk_sequence(node->get());
  struct stat status = {};
  const bool same =
      given && opened && *given == *opened && ::fstat(node->get(), &status) == 0 && status.st_rdev == device;
  if (!same) return fail(EINVAL, "the backing device is another by now");
  return node;
}

// What may be asked of a file, in this order: each question is harmless to whom the one before has let through.
// Nothing of his is closed here, which would be another question. Returns what is to be used in place of it, if anything.
Result<Fd> judge(int file, const Order& order) {
  const int flags = ::fcntl(file, F_GETFL);
  if ((flags & O_PATH) != 0) return fail(EBADF, "descriptor {} is O_PATH", order.number);
  // The loop driver looks at neither, since it trusts who binds: it would read what the caller may only write, and write
  // anywhere in what he may only append to.
  if ((flags & O_ACCMODE) == O_WRONLY)
    return fail(EBADF, "descriptor {} is not open for reading", order.number);
  if ((flags & O_APPEND) != 0 && (flags & O_ACCMODE) != O_RDONLY)
    return fail(EPERM, "descriptor {} is open for appending", order.number);
  struct statx known = {};
  // From what the kernel has, without a question to anybody. A FUSE mount of a user namespace does not let us look.
  if (::statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &known) != 0) {
    if (errno == EACCES) return fail(EOPNOTSUPP, "a file of a FUSE file system");
    return errno_fail("statx");
  }
  if (S_ISBLK(known.stx_mode)) {
    const dev_t device = makedev(known.stx_rdev_major, known.stx_rdev_minor);
    const auto name = sys::loop_device_of(device);
    return name ? host_node(file, device, *name) : Fd();
  }
  if (!S_ISREG(known.stx_mode)) return fail(EINVAL, "neither a regular file nor a block device");
  // Its server would be asked about it while it waits for us.
  if (makedev(known.stx_dev_major, known.stx_dev_minor) == order.instance)
    return fail(EINVAL, "a node of this instance that is not bound");
  struct statfs file_system = {};
  if (::fstatfs(file, &file_system) != 0) return errno_fail("fstatfs");
  // Its server could keep the kernel waiting in the middle of a write-back, and sync(2) on the host with it.
  if (file_system.f_type == FUSE_SUPER_MAGIC && !order.fuse_backing)
    return fail(EOPNOTSUPP, "a file of a FUSE file system");
  if (file_system.f_type == OVERLAYFS_SUPER_MAGIC && !order.fuse_backing && !reaches_blocks(file)) {
    return fail(EOPNOTSUPP,
                "a file of an overlay whose layer tells no blocks, and may be a FUSE file system");
  }
  return Fd();
}

class Porter {
 public:
  explicit Porter(int socket) : socket_(socket) {}

  void serve() {
    for (;;) {
      Order order;
      auto packet = receive(socket_, order);
      if (!packet) return;
      if (order.act == Act::kRest) {
        rest();
        continue;
      }
      reply_ = {};
      const auto done = perform(order, *packet);
      // Before the answer: who gets that counts on being the last to close the device.
      packet->fds.clear();
      Answer answer{.code = done ? 0 : done.error().code, .facts = facts_};
      if (!done) {
        const size_t length = std::min(done.error().what.size(), sizeof answer.what - 1);
        std::memcpy(answer.what, done.error().what.data(), length);
      }
      const int mount = mount_.get();
      if (!send(socket_, answer, reply_, std::span(&mount, mount >= 0 ? 1 : 0))) return;
    }
  }

 private:
  // Here is where it may hang: nobody waits for that.
  void rest() {
    given_.reset();
    node_.reset();
    mount_.reset();
    facts_ = {};
    (void)!::send(socket_, &kRested, 1, MSG_NOSIGNAL);
  }

  Result<void> perform(const Order& order, Packet& packet) {
    switch (order.act) {
      case Act::kReadMemory:
        if (order.size > kMostMemory) return fail(EFAULT, "read {} bytes", order.size);
        reply_.resize(order.size);
        return sys::read_memory(order.tid, order.address, reply_);
      case Act::kWriteMemory:
        return sys::write_memory(order.tid, order.address, packet.bytes);
      case Act::kTakeFile:
        return take_file(order);
      case Act::kTakeDescriptor:
        return take(order);
      case Act::kIoctl:
        return ioctl(order, packet.bytes);
      case Act::kClear: {
        const auto device = sys::open_loop_device(static_cast<uint32_t>(order.number), 0, O_RDONLY);
        if (!device) return propagate(device);
        const auto sequence = sys::disk_sequence(device->get());
        if (!sequence || *sequence != order.value) return fail(ESTALE, "loop{}: bound anew", order.number);
        return sys::clear_loop_device(device->get());
      }
      case Act::kKeep:
        if (!packet.fds.empty()) given_ = std::move(packet.fds.front());
        return {};
      case Act::kConfigure:
      case Act::kChangeFile:
      case Act::kIsBacking:
      case Act::kMountFilesystem:
      case Act::kRemountFilesystem:
        if (packet.fds.empty()) return fail(EPROTO, "the device is missing");
        return with_device(order, packet);
      case Act::kRest:
        break;
    }
    return fail(EPROTO, "order {}", static_cast<uint32_t>(order.act));
  }

  // Kept whatever comes of it: its end is rest()'s, when nobody waits.
  Result<void> take(const Order& order) {
    auto process = sys::pidfd_of_thread(order.tid);
    if (!process) return fail(EBADF, "the calling thread");
    auto file = sys::take_fd(process->get(), order.number);
    if (!file) return fail(EBADF, "descriptor {}", order.number);
    given_ = std::move(*file);
    return {};
  }

  Result<void> take_file(const Order& order) {
    if (auto taken = take(order); !taken) return taken;
    auto node = judge(given_.get(), order);
    if (!node) return propagate(node);
    node_ = std::move(*node);
    struct stat status = {};
    if (::fstat(file(), &status) != 0) return errno_fail("fstat");
    facts_ = {status.st_dev, status.st_ino, (::fcntl(file(), F_GETFL) & O_ACCMODE) != O_RDONLY};
    return {};
  }

  int file() const { return node_.valid() ? node_.get() : given_.get(); }

  Result<void> with_device(const Order& order, Packet& packet) {
    const int device = packet.fds.front().get();
    if (order.act == Act::kMountFilesystem || order.act == Act::kRemountFilesystem)
      return mount_filesystem(order, packet);
    if (!given_.valid()) return fail(EPROTO, "no file was taken");
    if (order.act == Act::kIsBacking) {
      const auto info = sys::loop_status(device);
      const bool same = info && info->lo_device == facts_.device && info->lo_inode == facts_.inode;
      if (!same) return fail(ENXIO, "another file");
      return {};
    }
    if (order.act == Act::kChangeFile) {
      if (::ioctl(device, LOOP_CHANGE_FD, file()) != 0) return errno_fail("LOOP_CHANGE_FD");
      return {};
    }
    loop_config config = order.config;
    config.fd = static_cast<uint32_t>(file());
    return sys::configure_loop_device(device, config);
  }

  Result<void> ioctl(const Order& order, std::vector<std::byte>& bytes) {
    if (!given_.valid()) return fail(EPROTO, "no descriptor was taken");
    struct statx known = {};
    const bool block = ::statx(file(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &known) == 0 &&
                       S_ISBLK(known.stx_mode);
    const auto sequence = block ? sys::disk_sequence(file()) : fail(EINVAL, "not a block device");
    if (!sequence || *sequence != order.value)
      return fail(EINVAL, "descriptor {}: another device", order.number);
    void* const argument = bytes.empty() ? reinterpret_cast<void*>(order.address) : bytes.data();
    if (::ioctl(file(), order.command, argument) < 0) return errno_fail("ioctl {:#x}", order.command);
    return {};
  }

  // Fds: the device, the user namespace that the mount's ids are of (none: those of the machine). Words: the type, the names
  // of the device there and here, "ro" or "rw", then keys and values.
  Result<void> mount_filesystem(const Order& order, Packet& packet) {
    const auto words = split_words(packet.bytes);
    if (words.size() < 4 || words.size() % 2 != 0) return fail(EPROTO, "a list of {} words", words.size());
    KernelMount wanted{.type = words[0],
                       .node = words[1],
                       .source = words[2],
                       .parameters = {},
                       .read_only = words[3] == "ro",
                       .attributes = order.value,
                       .user_namespace = packet.fds.size() < 2 ? -1 : packet.fds[1].get()};
    for (size_t i = 4; i < words.size(); i += 2) wanted.parameters.emplace_back(words[i], words[i + 1]);
    if (order.act == Act::kRemountFilesystem) return reconfigure_kernel_mount(wanted);
    auto mount = make_kernel_mount(wanted);
    if (!mount) return propagate(mount);
    mount_ = std::move(*mount);
    return {};
  }

  const int socket_;
  Fd given_;  // the stranger's
  Fd node_;   // used in its place
  Fd mount_;
  FileFacts facts_;
  std::vector<std::byte> reply_;
};

}  // namespace

void serve(int socket) {
  Porter(socket).serve();
}

}  // namespace loopfs::porter
