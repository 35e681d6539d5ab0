#include "supervisor/supervisor.h"

#include <poll.h>
#include <seccomp.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <system_error>

#include "engine/device_numbers.h"
#include "fusefs/node_table.h"
#include "mounter/mount_plan.h"
#include "supervisor/decision.h"
#include "sys/pidfd.h"

namespace loopfs::supervisor {
namespace {

constexpr int kTries = 10;           // to mount once more what may be at its end
constexpr unsigned kMostCalls = 48;  // under way at once; below the agent's own bound

// The call behind the notification, whatever the architecture numbers it.
bool is_call(const sys::Notification& notification, const char* name) {
  const std::unique_ptr<char, void (*)(void*)> found(
      ::seccomp_syscall_resolve_num_arch(notification.architecture, notification.number), ::free);
  return found && std::string_view(found.get()) == name;
}

std::vector<int> borrowed(const std::vector<Fd>& fds) {
  std::vector<int> numbers;
  numbers.reserve(fds.size());
  for (const auto& fd : fds) numbers.push_back(fd.get());
  return numbers;
}

std::string filesystems_of_kernel() {
  std::ifstream file("/proc/filesystems");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// errno of a call that could not be looked at. A caller that is gone gets no answer anyway.
int code_of(const Error& error) {
  return error.code != 0 ? error.code : EIO;
}

}  // namespace

// mount(2) of a device, as asked, with its source looked at.
struct Supervisor::Wanted {
  std::string source_path, target_path, type, data;
  uint64_t flags = 0;
  std::vector<Fd> places;
  std::optional<engine::NodeId> node;  // of our instance; none: of an inner sandbox's
  std::string name;                    // "/dev/loop0p1"
  dev_t instance = 0;                  // st_dev and st_ino of the source
  ino_t inode = 0;
  dev_t replaced = 0;  // st_dev of the mount whose place it takes

  bool read_only() const { return (flags & MS_RDONLY) != 0; }
  // What is known of the mount before there is one.
  Mount record() const {
    Mount mount;
    mount.node = node;
    mount.instance = instance;
    mount.inode = inode;
    mount.source = name;
    mount.type = type;
    return mount;
  }
};

// One mount of a device at a time: who comes second finds, as in the kernel, the superblock of the first.
class Supervisor::Turn {
 public:
  Turn(Supervisor& supervisor, dev_t instance, ino_t inode) : supervisor_(supervisor), key_(instance, inode) {
    std::unique_lock lock(supervisor_.mutex_);
    supervisor_.idle_.wait(lock, [this] { return !supervisor_.starting_.contains(key_); });
    supervisor_.starting_.insert(key_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    const std::lock_guard lock(supervisor_.mutex_);
    supervisor_.starting_.erase(key_);
    supervisor_.idle_.notify_all();
  }

 private:
  Supervisor& supervisor_;
  std::pair<dev_t, ino_t> key_;
};

Supervisor::Supervisor(Options options)
    : options_(std::move(options)),
      virtual_types_(parse_virtual_types(filesystems_of_kernel())),
      device_types_(parse_device_types(filesystems_of_kernel())),
      mounts_({options_.invalidate, options_.report}),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (const auto& program : options_.programs.programs()) {
    device_types_.insert(program.filesystems.begin(), program.filesystems.end());
  }
}

Result<std::unique_ptr<Supervisor>> Supervisor::create(Options options) {
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options)));
  if (!supervisor->wake_.valid()) return errno_fail("eventfd");
  return supervisor;
}

Supervisor::~Supervisor() {
  stop();
}

void Supervisor::start() {
  receiver_ = std::thread([this] { receive(); });
}

void Supervisor::stop() {
  ::eventfd_write(wake_.get(), 1);
  if (receiver_.joinable()) receiver_.join();
  options_.listener.reset();  // whoever still waits gets ENOSYS
  mounts_.stop();
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return calls_ == 0; });
}

void Supervisor::receive() {
  for (;;) {
    pollfd waits[] = {{options_.listener.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    // POLLHUP: nobody is left below the filter.
    if (waits[1].revents != 0 || (waits[0].revents & (POLLHUP | POLLERR)) != 0) return;
    auto notification = sys::receive_notification(options_.listener.get());
    if (!notification) {
      options_.report(fmt::format("{}: mounting is over in this sandbox", notification.error().message()));
      options_.listener.reset();  // nobody is to wait for an answer: mount(2) is ENOSYS from here on
      return;
    }
    if (*notification) dispatch(**notification);
  }
}

void Supervisor::dispatch(const sys::Notification& notification) {
  const int listener = options_.listener.get();
  const Target target(listener, notification);
  if (options_.ioctls && is_call(notification, "ioctl")) {
    in_thread(notification, [this](const Target& caller) { return options_.ioctls->perform(caller); });
    return;
  }
  if (options_.node_stat && NodeStat::is_for(notification)) {
    in_thread(notification, [this](const Target& caller) { return options_.node_stat->perform(caller); });
    return;
  }
  if (is_call(notification, "umount2") || is_call(notification, "umount")) {
    if (mounts_.empty() && served_.empty()) {
      (void)sys::continue_notification(listener, notification.id);
      return;
    }
    in_thread(notification, [this](const Target& caller) { return unmount(caller); });
    return;
  }
  const auto type = target.text(2);
  if (!type) {  // the kernel finds the same fault, and has its errno
    (void)sys::continue_notification(listener, notification.id);
    return;
  }
  switch (decide_mount(notification.arguments[3], *type, virtual_types_)) {
    case Decision::kQuestion:
      (void)sys::answer_notification(listener, notification.id, EALREADY);
      return;
    case Decision::kMount:
      in_thread(notification, [this](const Target& caller) { return mount(caller); });
      return;
    case Decision::kRemount:
      if (mounts_.empty()) break;
      in_thread(notification, [this](const Target& caller) { return remount(caller); });
      return;
    case Decision::kContinue:
      break;
  }
  (void)sys::continue_notification(listener, notification.id);
}

template <typename Act>
void Supervisor::in_thread(const sys::Notification& notification, Act act) {
  const int listener = options_.listener.get();
  {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return calls_ < kMostCalls; });  // the sandbox's other calls wait their turn
    ++calls_;
  }
  const auto call = [this, listener, notification, act] {
    const Answer answer = act(Target(listener, notification));
    if (answer) {
      (void)sys::answer_notification(listener, notification.id, *answer);
    } else {
      (void)sys::continue_notification(listener, notification.id);
    }
    const std::lock_guard lock(mutex_);
    --calls_;
    idle_.notify_all();
  };
  try {
    std::thread(call).detach();
  } catch (
      const std::system_error&) {  // too many processes of the user: of the sandbox's own making, perhaps
    (void)sys::answer_notification(listener, notification.id, EAGAIN);
    const std::lock_guard lock(mutex_);
    --calls_;
  }
}

Result<mounter::Agent::Answer> Supervisor::look(const Target& target, const std::vector<Fd>& places,
                                                const std::string& path, bool follow) {
  mounter::Request request;
  request.operation = mounter::Operation::kStat;
  request.path = target.visible_path(path);
  request.follow = follow;
  return options_.agent->ask(request, borrowed(places));
}

std::optional<engine::NodeId> Supervisor::node_of(const mounter::Reply& found) const {
  if (!found.on_fuse) return std::nullopt;
  const bool own = found.device == options_.instance_device;
  if (S_ISBLK(found.mode))
    return own ? options_.engine->node_of_device(found.node) : engine::node_of_device(found.node);
  // By the number of a descriptor that is one of the path alone (fusefs/sandbox_server.cc).
  const auto inode = own ? fusefs::inode_of_number(found.inode) : std::nullopt;
  if (!inode || inode->node.kind == engine::NodeId::Kind::kControl) return std::nullopt;
  return inode->node;
}

Supervisor::Answer Supervisor::mount(const Target& target) {
  Wanted wanted;
  auto source = target.text(0);
  auto place = target.text(1);
  auto type = target.text(2);
  if (!source || !place || !type || source->empty()) return std::nullopt;
  auto places = target.places();
  if (!places) return places.error().code == EPERM ? Answer(EPERM) : std::nullopt;
  auto looked = look(target, *places, *source, true);
  if (!looked) return code_of(looked.error());
  const mounter::Reply& found = looked->reply;
  // A type that we do not know may be one that needs no device, of a module that is yet to be loaded.
  const bool wants_device = device_types_.contains(*type);
  if (found.error != 0) return wants_device ? Answer(found.error) : std::nullopt;
  const bool own = found.device == options_.instance_device;
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

// mount(8) runs ntfs-3g itself (mount.ntfs), which then asks for "fuseblk": a type that the kernel refuses to
// user namespaces, while it would allow "fuse". EINVAL without a descriptor: mount(8) tries every type that
// there is.
Supervisor::Answer Supervisor::mount_served(const Target& target, const Wanted& wanted) {
  const size_t at = (',' + wanted.data).find(",fd=");
  if (at == std::string::npos) return EINVAL;
  auto pidfd = sys::pidfd_of_thread(target.notification().tid);
  if (!pidfd || !target.valid()) return ESRCH;
  auto channel = sys::take_fd(pidfd->get(), std::atoi(wanted.data.c_str() + at + 3));
  if (!channel) return EINVAL;
  mounter::Request request;
  request.operation = mounter::Operation::kServed;
  request.path = wanted.target_path;
  request.asked_type = wanted.type;
  request.source = wanted.name;
  request.options = {wanted.data};
  request.attributes = mounter::attributes_of_flags(wanted.flags);
  request.read_only = wanted.read_only();
  request.notification = target.notification().id;
  std::vector<int> fds = borrowed(wanted.places);
  fds.push_back(target.listener());
  fds.push_back(channel->get());
  const auto pids = sys::pid_namespace_of(target.notification().tid);
  auto answer = options_.agent->ask(request, fds);
  if (!answer) return code_of(answer.error());
  if (answer->reply.error == 0 && pids) served_.add(answer->reply.device, *pids);
  return answer->reply.error;
}

Supervisor::Answer Supervisor::mount_device(const Target& target, const Wanted& wanted) {
  const Turn turn(*this, wanted.instance, wanted.inode);
  for (int tries = kTries; const auto known = mounts_.find(wanted.instance, wanted.inode);) {
    if (mounts_.wait_for_end(known->device)) continue;
    const Answer answer = mount_again(target, wanted, *known);
    // Perhaps it is just being unmounted: the kernel would let us wait for that, and start afresh.
    if (answer != EBUSY || --tries == 0) return answer;
    mounts_.wait_for_change();
  }
  if (wanted.node && options_.mount_by_kernel) {
    auto mounted = options_.mount_by_kernel(*wanted.node, wanted.type, wanted.flags, wanted.data);
    if (!mounted) return code_of(mounted.error());
    if (*mounted) return attach(target, wanted, **mounted);
  }
  // Without a program the image is looked at all the same: mount(8) tries every type of /proc/filesystems on
  // what it does not recognise, and only a file system that is there lacks its program.
  const mounter::Program* known = options_.programs.find(wanted.type);
  const mounter::Program program = known != nullptr ? *known : mounter::Program{};
  const auto executable = known != nullptr ? mounter::locate_program(program) : std::nullopt;
  Mount record = wanted.record();
  if (known != nullptr) record.program = program.command.front();
  const engine::MountHold* hold = nullptr;
  if (wanted.node) {
    auto held = options_.engine->hold_for_mount(*wanted.node, !wanted.read_only());
    if (!held) return code_of(held.error());
    record.hold = std::move(*held);
    hold = record.hold.get();
    options_.invalidate(*wanted.node);  // what is still in the kernel's cache goes to the image first
  }
  const Answer answer =
      start_program(target, wanted, program, executable.value_or(""), hold, std::move(record));
  if (!executable && answer == EPERM) {
    options_.report(known == nullptr
                        ? fmt::format("mount {}: no FUSE program is known for {}; loopfs.toml can name one",
                                      wanted.name, wanted.type)
                        : fmt::format("mount {}: {} is not installed; the package {} has it", wanted.name,
                                      program.command.front(), program.package));
  }
  return answer;
}

// A mount of the kernel's: from here on it is between the sandbox and the kernel.
Supervisor::Answer Supervisor::attach(const Target& target, const Wanted& wanted, const Fd& mount) {
  mounter::Request request;
  request.operation = mounter::Operation::kAttach;
  request.path = wanted.target_path;
  request.notification = target.notification().id;
  std::vector<int> fds = borrowed(wanted.places);
  fds.push_back(target.listener());
  fds.push_back(mount.get());
  auto answer = options_.agent->ask(request, fds);
  return answer ? answer->reply.error : code_of(answer.error());
}

// The same superblock at one more place.
Supervisor::Answer Supervisor::mount_again(const Target& target, const Wanted& wanted,
                                           const Mounts::Known& known) {
  // A read-only file system does not mind being asked for writing; the kernel minds the two together else.
  const mounter::Program* program = options_.programs.find(known.type);
  const bool never_written = program != nullptr && program->read_only;
  if (known.superblock_read_only != wanted.read_only() && !never_written) return EBUSY;
  if (!mounter::type_accepts(wanted.type, known.type)) return EBUSY;
  if (program != nullptr && !mounter::plan_mount(wanted.flags, wanted.data, *program)) return EINVAL;
  mounter::Request request;
  request.operation = mounter::Operation::kClone;
  request.path = wanted.target_path;
  request.device = known.device;
  request.attributes = mounter::attributes_of_flags(wanted.flags);
  request.notification = target.notification().id;
  std::vector<int> fds = borrowed(wanted.places);
  fds.push_back(target.listener());
  auto answer = options_.agent->ask(request, fds);
  return answer ? answer->reply.error : code_of(answer.error());
}

Supervisor::Answer Supervisor::start_program(const Target& target, const Wanted& wanted,
                                             const mounter::Program& program, const std::string& executable,
                                             const engine::MountHold* hold, Mount record) {
  auto plan = mounter::plan_mount(wanted.flags, executable.empty() ? std::string() : wanted.data, program);
  if (!plan) {
    options_.report(fmt::format("mount {}: {}", wanted.name, plan.error().message()));
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
  request.notification = target.notification().id;
  std::vector<int> fds = borrowed(wanted.places);
  fds.push_back(target.listener());
  // A program that knows no offset would see the whole backing file: it gets the device's own node instead,
  // whose bounds the instance keeps. So does one for an inner sandbox, whose backing file we cannot see.
  const bool whole = hold != nullptr && hold->offset() == 0 && hold->size() + 512 > hold->backing_size();
  if (hold != nullptr && (whole || !program.offset_option.empty())) {
    request.offset = hold->offset();
    request.size = hold->size();
    fds.push_back(hold->backing_fd());
  } else {
    // ntfs-3g opens its device with O_EXCL, which our claim would refuse: the claim comes when it has done
    // so.
    record.hold.reset();
    request.device_path = wanted.source_path;
    request.image_device = wanted.instance;
    request.image_inode = wanted.inode;
  }
  auto answer = options_.agent->ask(request, fds);
  if (!answer) return code_of(answer.error());
  if (!answer->reply.line.empty()) options_.report(answer->reply.line);
  if (answer->reply.error != 0) return answer->reply.error;
  if (answer->fds.size() != 2) return EIO;
  record.device = answer->reply.device;
  record.pidfd = std::move(answer->fds[0]);
  record.channel = std::move(answer->fds[1]);
  record.read_only = record.superblock_read_only = plan->read_only;
  record.data = wanted.data;
  if (record.node && !record.hold) {
    // Not to be had if the program has the claim: then its own descriptor keeps the device.
    auto held = options_.engine->hold_for_mount(*record.node, !record.read_only);
    if (held) record.hold = std::move(*held);
  }
  if (!record.read_only) caution(program, record.source);
  mounts_.add(std::move(record));
  return 0;
}

void Supervisor::caution(const mounter::Program& program, const std::string& source) {
  const std::string& name = program.command.front();
  if (program.caution.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    if (!cautioned_.insert(name).second) return;
  }
  options_.report(fmt::format("mount {}: {}: {}", source, name, program.caution));
}

Supervisor::Answer Supervisor::remount(const Target& target) {
  auto place = target.text(1);
  if (!place) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  auto looked = look(target, *places, *place, true);
  if (!looked || looked->reply.error != 0) return std::nullopt;
  const auto known = mounts_.find(looked->reply.device);
  if (!known) return std::nullopt;
  const uint64_t flags = without_magic(target.notification().arguments[3]);
  if (known->read_only && (flags & MS_RDONLY) == 0) {
    Wanted wanted;
    wanted.source_path = known->source;
    wanted.target_path = target.visible_path(*place);
    wanted.type = known->type;
    wanted.data = known->data;
    wanted.flags = flags & ~uint64_t{MS_REMOUNT};
    wanted.places = std::move(*places);
    wanted.node = known->node;
    wanted.name = known->source;
    wanted.instance = known->instance;
    wanted.inode = known->inode;
    wanted.replaced = known->device;
    const Turn turn(*this, wanted.instance, wanted.inode);
    return remount_writable(target, wanted, *known);
  }
  mounter::Request request;
  request.operation = mounter::Operation::kRemount;
  request.path = target.visible_path(*place);
  request.flags = flags;
  auto answer = options_.agent->ask(request, borrowed(*places));
  if (!answer) return code_of(answer.error());
  if (answer->reply.error == 0) mounts_.set_superblock_read_only(known->device, (flags & MS_RDONLY) != 0);
  return answer->reply.error;
}

// A program that was started read-only cannot be made to write: another one takes its place, if nobody uses
// the mount at this moment (EBUSY).
Supervisor::Answer Supervisor::remount_writable(const Target& target, const Wanted& wanted,
                                                const Mounts::Known& known) {
  if (known.node && !known.hold) return EBUSY;  // the program has a claim of its own on the device
  if (known.hold && known.hold->read_only()) return EROFS;
  const mounter::Program* program = options_.programs.find(wanted.type);
  const auto executable = program != nullptr ? mounter::locate_program(*program) : std::nullopt;
  if (!executable) return EROFS;
  Mount record = wanted.record();
  record.hold = known.hold;
  record.program = program->command.front();
  return start_program(target, wanted, *program, *executable, known.hold.get(), std::move(record));
}

Supervisor::Answer Supervisor::unmount(const Target& target) {
  auto place = target.text(0);
  if (!place) return std::nullopt;
  auto places = target.places();
  if (!places) return std::nullopt;
  const uint64_t flags = is_call(target.notification(), "umount") ? 0 : target.notification().arguments[1];
  // The kernel counts who has looked since the last time: we must not.
  if ((flags & MNT_EXPIRE) != 0) return std::nullopt;
  auto looked = look(target, *places, *place, (flags & UMOUNT_NOFOLLOW) == 0);
  if (!looked || looked->reply.error != 0) return std::nullopt;
  const dev_t device = looked->reply.device;
  if (!mounts_.find(device) && !served_.contains(device)) return std::nullopt;
  // The last close of a device whose file lies there may be under way: the engine answers when that is through.
  (void)options_.engine->nodes();
  mounter::Request request;
  request.operation = mounter::Operation::kUnmount;
  request.path = target.visible_path(*place);
  request.follow = (flags & UMOUNT_NOFOLLOW) == 0;
  request.flags = flags & 0xffffffff;
  auto programs = served_.programs(device);
  auto answer = options_.agent->ask(request, borrowed(*places));
  if (!answer) return code_of(answer.error());
  if (answer->reply.error != 0) return answer->reply.error;
  ServedMounts::wait_for_end(std::move(programs));
  // Who forces or detaches has a reason not to wait for long.
  using After = Mounts::After;
  const After after = (flags & MNT_FORCE) != 0    ? After::kKill
                      : (flags & MNT_DETACH) != 0 ? After::kLeave
                                                  : After::kWait;
  mounts_.wait_for_end(answer->reply.device, after);
  return 0;
}

}  // namespace loopfs::supervisor
