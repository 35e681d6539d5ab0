#include "mounter/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <sstream>

#include "mounter/flush.h"
#include "mounter/minimal_root.h"
#include "mounter/mount_plan.h"
#include "mounter/mount_points.h"
#include "mounter/probe.h"
#include "mounter/program.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/process.h"
#include "sys/remote_memory.h"
#include "sys/seccomp.h"

namespace loopfs::mounter {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kFuseMagic = 0x65735546;         // linux/magic.h FUSE_SUPER_MAGIC
constexpr std::chrono::seconds kStartTime{60};  // for a program to check its image and to answer
constexpr size_t kMostMountData = 4096;
constexpr uint64_t kMountAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                      MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME |
                                      MOUNT_ATTR_NOSYMFOLLOW;

// What a reply is made of: the bytes, and the descriptors that go with them.
struct Outcome {
  Reply reply;
  std::vector<Fd> fds;
};

Outcome failed(const Error& error, std::string line = {}) {
  return {Reply{.error = error.code, .line = std::move(line)}, {}};
}

Outcome done(Reply reply = {}) {
  return {std::move(reply), {}};
}

class Worker {
 public:
  Worker(const Request& request, const std::vector<Fd>& fds) : request_(request), fds_(fds) {}

  Outcome run() {
    // Before the caller's namespaces are entered: the host's programs and its /proc are out of reach there.
    proc_ = Fd(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (request_.operation == Operation::kMount) return mount();
    if (auto entered = enter(); !entered) return failed(entered.error());
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
      case Operation::kMount:
        break;
    }
    return failed({EINVAL, "operation"});
  }

 private:
  int fd(RequestFd which) const { return which < fds_.size() ? fds_[which].get() : -1; }

  // From here on every path means what it means to the caller.
  Result<void> enter() {
    if (auto entered = sys::enter_namespaces(fd(kUserNamespace), CLONE_NEWUSER); !entered) return entered;
    if (auto entered = sys::enter_namespaces(fd(kMountNamespace), CLONE_NEWNS); !entered) return entered;
    if (::fchdir(fd(kRootDirectory)) != 0 || ::chroot(".") != 0) return errno_fail("enter the caller's root");
    if (::fchdir(fd(kWorkingDirectory)) != 0) return errno_fail("enter the caller's directory");
    return {};
  }

  // Never asks the file system itself: a dead or stuck FUSE server must not hold us.
  Result<struct statx> look(const Fd& place) const {
    struct statx status;
    if (::statx(place.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status) != 0) {
      return errno_fail("statx '{}'", request_.path);
    }
    return status;
  }

  Result<Fd> open_place(int flags) const {
    Fd place(::open(request_.path.c_str(), O_PATH | O_CLOEXEC | flags));
    if (!place.valid()) return errno_fail("open '{}'", request_.path);
    return place;
  }

  // Where something is to be mounted: the root of a file system is a directory.
  Result<Fd> open_target() const { return open_place(O_DIRECTORY); }

  Outcome stat() const {
    auto place = open_place(request_.follow ? 0 : O_NOFOLLOW);
    if (!place) return failed(place.error());
    auto status = look(*place);
    if (!status) return failed(status.error());
    struct statfs filesystem;
    Reply reply;
    reply.device = makedev(status->stx_dev_major, status->stx_dev_minor);
    reply.node = makedev(status->stx_rdev_major, status->stx_rdev_minor);
    reply.inode = status->stx_ino;
    reply.mode = status->stx_mode;
    // Only where it matters: statfs(2) does ask the file system.
    reply.on_fuse =
        (S_ISBLK(reply.mode) || S_ISREG(reply.mode)) && ::fstatfs(place->get(), &filesystem) == 0 && filesystem.f_type == kFuseMagic;
    return done(reply);
  }

  Outcome unmount() const {
    Reply reply;
    {
      auto place = open_place(request_.follow ? 0 : O_NOFOLLOW);
      if (!place) return failed(place.error());
      auto status = look(*place);
      if (!status) return failed(status.error());
      reply.device = makedev(status->stx_dev_major, status->stx_dev_minor);
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

  // The mounts of the file system `device` in the caller's tree, by their mount points.
  std::vector<std::string> mount_points_of(dev_t device) const {
    const Fd file(::openat(proc_.get(), "self/mountinfo", O_RDONLY | O_CLOEXEC));
    std::string text;
    char piece[8192];
    for (ssize_t got; (got = ::read(file.get(), piece, sizeof piece)) > 0;)
      text.append(piece, static_cast<size_t>(got));
    return mount_points(text, device);
  }

  Outcome clone() const {
    auto tree = copy_of_mount(request_.device);
    if (!tree) return failed(tree.error());
    // Those of the new mount, not of the one that it is a copy of.
    if (auto set = sys::set_mount_attributes(tree->get(), request_.attributes, kMountAttributes, false);
        !set) {
      return failed(set.error());
    }
    auto target = open_target();
    if (!target) return failed(target.error());
    if (auto attached = attach(tree->get(), target->get()); !attached) return failed(attached.error());
    return done({.device = request_.device});
  }

  Result<Fd> copy_of_mount(dev_t device) const {
    for (const auto& point : mount_points_of(device)) {
      auto tree = sys::clone_tree(AT_FDCWD, point, false);
      if (!tree) continue;
      auto found = sys::device_of_mount(tree->get());
      if (found && *found == device) return tree;  // else something is mounted over it
    }
    return fail(EBUSY, "mounted in another namespace");
  }

  Result<void> attach(int mount, int target) const {
    if (!sys::notification_valid(fd(kListener), request_.notification))
      return fail(EINTR, "the caller is gone");
    return sys::attach_mount(mount, target, "");
  }

  // ---- kMount ----

  struct Image {
    Fd own;  // if opened here
    int fd = -1;
    uint64_t offset = 0, size = 0;
  };

  Outcome mount() {
    // The program wants the host's files, the target the caller's: a child looks at the caller's side first.
    auto image = open_image();
    if (!image) return failed(image.error());
    auto type = probe_in_child(*image);
    if (!type) return failed(type.error());
    if (request_.executable.empty()) return failed({EPERM, ""});  // the right type, but nobody to serve it
    auto program = launch_program(launch_of(*image));
    if (!program)
      return failed({EIO, ""}, fmt::format("{}: {}", request_.command.front(), program.error().message()));
    Outcome outcome = mount_program(*program);
    if (outcome.reply.error != 0) {
      (void)sys::send_signal(program->pidfd.get(), SIGKILL);
      pollfd gone{program->pidfd.get(), POLLIN,
                  0};  // the device is held for it no longer than we are at work
      (void)::poll(&gone, 1, 1000 * static_cast<int>(kStartTime.count()));
    }
    return outcome;
  }

  // Goes on as a process of the caller's pid namespace. The server of an inner sandbox's instance sees no
  // others, and could not tell an open from a stat. A caller in a user namespace below the one that owns its
  // pid namespace lends no right to enter that; then it is not in an inner sandbox's, and ours sees us as we
  // are. The sandbox's root can see us there, and trace us: nothing but `kept` is left for it to take.
  Result<void> join_pid_namespace(int kept) const {
    if (auto entered = sys::enter_namespaces(fd(kPidNamespace), CLONE_NEWPID); !entered) return {};
    if (auto closed = sys::close_all_except(kept); !closed) return closed;
    const pid_t child = ::fork();
    if (child < 0) return errno_fail("fork");
    if (child == 0) return sys::die_with_parent();
    ::waitpid(child, nullptr, 0);
    ::_exit(0);
  }

  struct Seen {
    Fd fd;              // may be none
    uint64_t size = 0;  // bytes
  };

  // Runs `act` in a child that has entered the caller's namespaces; what it has seen there.
  template <typename Act>
  Result<Seen> in_child(Act act) {
    struct Header {
      int code;
      uint64_t size;
    };
    auto ends = sys::socket_pair();
    if (!ends) return propagate(ends);
    const pid_t child = ::fork();
    if (child < 0) return errno_fail("fork");
    if (child == 0) {
      (void)sys::die_with_parent();
      auto entered = enter();
      const Result<Seen> seen = entered ? act(ends->second.get()) : Result<Seen>(propagate(entered));
      const Header header{seen ? 0 : std::max(seen.error().code, 1), seen ? seen->size : 0};
      const int fds[] = {seen ? seen->fd.get() : -1};
      (void)sys::send_message(ends->second.get(), std::as_bytes(std::span(&header, 1)),
                              std::span(fds, fds[0] >= 0 ? 1u : 0u));
      ::_exit(0);
    }
    ends->second.reset();
    auto message = sys::receive_message(ends->first.get());
    ::waitpid(child, nullptr, 0);
    if (!message) return propagate(message);
    if (!*message || (*message)->bytes.size() != sizeof(Header)) return fail(EIO, "look at the image");
    Header header;
    std::memcpy(&header, (*message)->bytes.data(), sizeof header);
    if (header.code != 0) return fail(header.code, "'{}'", request_.path);
    Seen seen{.size = header.size};
    if (!(*message)->fds.empty()) seen.fd = std::move((*message)->fds.front());
    return seen;
  }

  Result<Image> open_image() {
    Image image{.fd = fd(kImage), .offset = request_.offset, .size = request_.size};
    if (request_.device_path.empty()) return image;
    // The size too: an instance answers nobody outside of its user namespace.
    auto opened = in_child([&](int socket) -> Result<Seen> {
      if (auto joined = join_pid_namespace(socket); !joined) return propagate(joined);
      const int mode = request_.read_only ? O_RDONLY : O_RDWR;
      Seen device{.fd = Fd(::open(request_.device_path.c_str(), mode | O_CLOEXEC | O_NONBLOCK))};
      if (!device.fd.valid()) return errno_fail("open '{}'", request_.device_path);
      struct stat status;
      if (::fstat(device.fd.get(), &status) != 0) return errno_fail("fstat '{}'", request_.device_path);
      // The name may lead elsewhere by now.
      if (!S_ISREG(status.st_mode) || status.st_dev != request_.image_device ||
          status.st_ino != request_.image_inode) {
        return fail(EAGAIN, "open '{}'", request_.device_path);
      }
      device.size = static_cast<uint64_t>(status.st_size);
      return device;
    });
    if (!opened) return propagate(opened);
    image.own = std::move(opened->fd);
    image.fd = image.own.get();
    image.size = opened->size;
    return image;
  }

  // libblkid reads hostile bytes: in a child that can do no more than the sandbox itself.
  Result<void> probe_in_child(const Image& image) {
    auto probed = in_child([&](int) -> Result<Seen> {
      const rlimit memory{512u << 20, 512u << 20};
      ::setrlimit(RLIMIT_AS, &memory);
      ::alarm(static_cast<unsigned>(kStartTime.count()));
      auto found = probe_filesystem(image.fd, image.offset, image.size);
      if (!found) return propagate(found);
      if (!type_accepts(request_.asked_type, *found)) return fail(EINVAL, "found {}", *found);
      auto target = open_target();  // ENOENT before a program is started for nothing
      if (!target) return propagate(target);
      return Seen();
    });
    if (!probed) return propagate(probed);
    return {};
  }

  ProgramLaunch launch_of(const Image& image) const {
    std::vector<std::string> options = request_.options;
    if (image.offset != 0) {
      std::string option = request_.offset_option;
      const size_t at = option.find("{offset}");
      if (at != std::string::npos) option.replace(at, 8, std::to_string(image.offset));
      options.push_back(option);
    }
    std::string joined;
    for (const auto& option : options) joined += (joined.empty() ? "" : ",") + option;
    ProgramLaunch launch{.executable = request_.executable,
                         .image = image.fd,
                         .image_end = image.offset + image.size,
                         .user_namespace = fd(kUserNamespace)};
    for (const auto& word : request_.command) {
      if (word == "{image}") {
        launch.arguments.emplace_back(kImagePath);
      } else if (word == "{mountpoint}") {
        launch.arguments.emplace_back(kMountPoint);
      } else if (word == "{options}") {
        if (!joined.empty()) {
          launch.arguments.push_back(joined);
        } else if (!launch.arguments.empty() && launch.arguments.back() == "-o") {
          launch.arguments.pop_back();
        }
      } else {
        launch.arguments.push_back(word);
      }
    }
    return launch;
  }

  // 0: readable. ETIMEDOUT, or EPIPE if the program ended first.
  static int wait_for(int wanted, const RunningProgram& program, Clock::time_point deadline) {
    pollfd waits[] = {{wanted, POLLIN, 0}, {program.pidfd.get(), POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int ready = ::poll(waits, 2, static_cast<int>(std::max<long>(left, 0)));
    if (ready <= 0) return ETIMEDOUT;
    return (waits[0].revents & POLLIN) != 0 ? 0 : EPIPE;
  }

  Outcome program_failed(const RunningProgram& program, int code) const {
    const std::string name = request_.command.front();
    if (code == ETIMEDOUT) {
      return failed({EIO, ""}, fmt::format("mount {}: {} gave no answer in {} s", request_.source, name,
                                           kStartTime.count()));
    }
    const std::string words = telling_line(output_of(program.errors.get()), request_.source);
    return failed({EUCLEAN, ""}, fmt::format("mount {}: {} refused the image: {}", request_.source, name,
                                             words.empty() ? "it gave no reason" : words));
  }

  // The program is started; the rest happens in the caller's namespaces.
  Outcome mount_program(const RunningProgram& program) {
    const auto deadline = Clock::now() + kStartTime;
    if (const int code = wait_for(program.listener.get(), program, deadline); code != 0)
      return program_failed(program, code);
    auto asked = sys::receive_notification(program.listener.get());
    if (!asked || !*asked) return program_failed(program, EPIPE);
    if (auto entered = enter(); !entered) return failed(entered.error());
    auto target = open_target();
    if (!target) return failed(target.error());
    auto fuse = fuse_of(program, **asked);
    if (!fuse) return failed({EIO, ""}, fuse.error().message());
    auto mounted = make_mount(*fuse);
    if (!mounted) return failed({mounted.error().code, ""}, mounted.error().message());
    if (auto answered = sys::answer_notification(program.listener.get(), (*asked)->id, 0); !answered) {
      return failed(answered.error());
    }
    if (const int code = wait_until_it_answers(*mounted, fuse->channel, program, deadline); code != 0)
      return program_failed(program, code);
    auto device = sys::device_of_mount(mounted->get());
    if (!device) return failed(device.error());
    if (request_.replace) {
      // The old program would go on serving the other mounts, from an image that changes.
      if (mount_points_of(request_.device).size() > 1) return failed({EBUSY, "mounted elsewhere too"});
      target->reset();  // it would make the mount busy
      if (::umount2(request_.path.c_str(), 0) != 0) return failed({errno, "umount2"});
      target = open_target();  // what was below the old mount
    }
    if (!target) return failed(target.error());
    if (auto attached = attach(mounted->get(), target->get()); !attached) return failed(attached.error());
    Outcome outcome = done({.device = *device});
    outcome.fds.emplace_back(::fcntl(program.pidfd.get(), F_DUPFD_CLOEXEC, 0));
    outcome.fds.push_back(std::move(fuse->channel));
    return outcome;
  }

  Outcome attach_given() const {
    auto target = open_target();
    if (!target) return failed(target.error());
    if (auto attached = attach(fd(kImage), target->get()); !attached) return failed(attached.error());
    return done();
  }

  // A program of the caller's own (ntfs-3g, as mount.ntfs) is to serve the target.
  Outcome mount_served() {
    if (request_.options.empty()) return failed({EINVAL, "data"});
    FuseRequest fuse = fuse_of(request_.options.front());
    fuse.channel = Fd(::fcntl(fd(kImage), F_DUPFD_CLOEXEC, 0));
    auto target = open_target();
    if (!target) return failed(target.error());
    auto mounted = make_mount(fuse);
    if (!mounted) return failed(mounted.error());
    auto device = sys::device_of_mount(mounted->get());
    if (!device) return failed(device.error());
    if (auto attached = attach(mounted->get(), target->get()); !attached) return failed(attached.error());
    return done({.device = *device});
  }

  struct FuseRequest {
    int number = -1;  // of `channel` in the process that serves
    Fd channel;       // the program's /dev/fuse
    mode_t root_mode = S_IFDIR;
    uint64_t max_read = 0;
  };

  // What a program's mount(2) asks for: "fd=4,rootmode=40000,user_id=0,group_id=0,max_read=131072". No
  // channel yet.
  static FuseRequest fuse_of(const std::string& data) {
    FuseRequest request;
    std::istringstream words(data);
    for (std::string word; std::getline(words, word, ',');) {
      if (word.starts_with("fd=")) request.number = std::atoi(word.c_str() + 3);
      if (word.starts_with("rootmode="))
        request.root_mode = static_cast<mode_t>(std::strtoul(word.c_str() + 9, nullptr, 8));
      if (word.starts_with("max_read=")) request.max_read = std::strtoull(word.c_str() + 9, nullptr, 10);
    }
    return request;
  }

  Result<FuseRequest> fuse_of(const RunningProgram& program, const sys::Notification& asked) const {
    auto data = sys::read_string(asked.tid, asked.arguments[4], kMostMountData);
    if (!data) return propagate(data);
    FuseRequest request = fuse_of(*data);
    auto channel = sys::take_fd(program.pidfd.get(), request.number);
    if (!channel) return propagate(channel, "{}: its mount(2) has no /dev/fuse", request_.command.front());
    request.channel = std::move(*channel);
    return request;
  }

  Result<Fd> make_mount(const FuseRequest& fuse) const {
    sys::FuseMountOptions options;
    options.source = request_.source;
    // "fuse.ext4" would make mount(8) hand a remount to mount.fuse(8), which knows no program "ext4". For
    // "fuse.loop.ext4" it looks for helpers that nobody has, and then calls mount(2).
    options.subtype = "loop." + request_.asked_type;
    options.root_mode = S_IFDIR | (fuse.root_mode & 07777);
    options.max_read = fuse.max_read;
    options.read_only = request_.read_only;
    options.synchronous = request_.synchronous;
    options.attributes = request_.attributes;
    return sys::mount_fuse(fuse.channel.get(), options);
  }

  // A child asks the file system for its root, and may hang there; we do not.
  int wait_until_it_answers(const Fd& mounted, Fd& channel, const RunningProgram& program,
                            Clock::time_point deadline) const {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    const Fd ready(ends[0]);
    Fd report(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return errno;
    if (child == 0) {
      (void)sys::die_with_parent();
      channel.reset();
      struct statx status;
      const bool answered =
          ::statx(mounted.get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) == 0;
      if (answered) (void)!::write(report.get(), "y", 1);
      ::_exit(0);
    }
    report.reset();
    int code = wait_for(ready.get(), program, deadline);
    char yes = 0;
    if (code == 0 && ::read(ready.get(), &yes, 1) != 1) code = EPIPE;
    if (code != 0) {
      // What lets a child go that still waits is the end of the connection: no descriptor of it may stay.
      (void)sys::send_signal(program.pidfd.get(), SIGKILL);
      channel.reset();
      ::kill(child, SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    return code;
  }

  const Request& request_;
  const std::vector<Fd>& fds_;
  Fd proc_;
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
