#include "supervisor/supervisor.h"

#include <poll.h>
#include <seccomp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>

#include "supervisor/decision.h"
#include "supervisor/subdirectory.h"

namespace loopfs::supervisor {
namespace {

constexpr std::chrono::seconds kPatience{10};  // for calls under way when the sandbox has ended
constexpr unsigned kMostCalls = 48;            // under way at once; below the agent's own bound

// The call behind the notification, whatever the architecture numbers it.
bool is_call(const sys::Notification& notification, const char* name) {
  const std::unique_ptr<char, void (*)(void*)> found(
      ::seccomp_syscall_resolve_num_arch(notification.architecture, notification.number), ::free);
  return found && std::string_view(found.get()) == name;
}

std::string filesystems_of_kernel() {
  std::ifstream file("/proc/filesystems");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Not every type is a virtual or a device one: modules.
std::set<std::string> device_types(const mounter::ProgramTable& programs) {
  auto types = parse_device_types(filesystems_of_kernel());
  for (const auto& program : programs.programs())
    types.insert(program.filesystems.begin(), program.filesystems.end());
  return types;
}

}  // namespace

Supervisor::Supervisor(Options options)
    : listener_(std::move(options.listener)),
      ioctls_(std::move(options.ioctls)),
      node_calls_(std::move(options.node_calls)),
      virtual_types_(parse_virtual_types(filesystems_of_kernel())),
      tables_(std::move(options.partners), std::move(options.kernel_mounts)),
      launcher_(tables_),
      device_mounts_(tables_, launcher_, device_types(tables_.programs)),
      remounts_(tables_, launcher_),
      unmounts_(tables_),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

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

bool Supervisor::stop() {
  ::eventfd_write(wake_.get(), 1);
  if (receiver_.joinable()) receiver_.join();
  listener_.reset();  // whoever still waits gets ENOSYS
  tables_.mounts.stop();
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, kPatience, [this] { return calls_ == 0; });
}

void Supervisor::receive() {
  for (;;) {
    pollfd waits[] = {{listener_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) continue;
    // POLLHUP: nobody is left below the filter.
    if (waits[1].revents != 0 || (waits[0].revents & (POLLHUP | POLLERR)) != 0) return;
    auto notification = sys::receive_notification(listener_.get());
    if (!notification) {
      tables_.report(fmt::format("{}: mounting is over in this sandbox", notification.error().message()));
      listener_.reset();  // nobody is to wait for an answer: mount(2) is ENOSYS from here on
      return;
    }
    if (*notification) dispatch(**notification);
  }
}

void Supervisor::dispatch(const sys::Notification& notification) {
  if (ioctls_ && is_call(notification, "ioctl")) {
    in_thread(notification, [this](const Target& caller) { return ioctls_->perform(caller); });
    return;
  }
  if (node_calls_ && NodeCalls::is_for(notification)) {
    in_thread(notification, [this](const Target& caller) { return node_calls_->perform(caller); });
    return;
  }
  if (is_call(notification, "mount")) {
    dispatch_mount(notification);
    return;
  }
  if (tables_.empty()) {
    (void)sys::continue_notification(listener_.get(), notification.id);
    return;
  }
  if (is_call(notification, "open_tree")) {
    in_thread(notification, [this](const Target& caller) { return remounts_.open_tree(caller); });
    return;
  }
  const uint64_t flags = is_call(notification, "umount") ? 0 : notification.arguments[1];
  in_thread(notification, [this, flags](const Target& caller) { return unmounts_.unmount(caller, flags); });
}

void Supervisor::dispatch_mount(const sys::Notification& notification) {
  const int listener = listener_.get();
  const Target target(listener, notification);
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
      in_thread(notification, [this](const Target& caller) { return device_mounts_.mount(caller); });
      return;
    case Decision::kRemount:
      if (tables_.empty()) break;
      in_thread(notification, [this](const Target& caller) { return remounts_.remount(caller); });
      return;
    case Decision::kBind: {
      const auto source = target.text(0);
      if (!source || !is_subdirectory_of_mount(*source)) break;
      in_thread(notification,
                [this](const Target& caller) { return bind_subdirectory(*tables_.agent, caller); });
      return;
    }
    case Decision::kContinue:
      break;
  }
  (void)sys::continue_notification(listener, notification.id);
}

template <typename Act>
void Supervisor::in_thread(const sys::Notification& notification, Act act) {
  const int listener = listener_.get();
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

}  // namespace loopfs::supervisor
