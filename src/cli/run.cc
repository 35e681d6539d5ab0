#include "cli/run.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdio>

#include "cli/reach.h"
#include "client/daemon_engine.h"
#include "client/manager_client.h"
#include "engine/user_engine.h"
#include "fusefs/node_table.h"
#include "fusefs/sandbox_server.h"
#include "mounter/agent.h"
#include "mounter/config.h"
#include "mounter/mount_plan.h"
#include "sandbox/sandbox.h"
#include "supervisor/descriptor_window.h"
#include "supervisor/filter.h"
#include "supervisor/loop_ioctls.h"
#include "supervisor/supervisor.h"
#include "sys/loop_names.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/probe.h"
#include "sys/process.h"
#include "view/layout.h"
#include "view/view_server.h"

namespace loopfs::cli {
namespace {

constexpr uint32_t kInitialDevices = 8;  // loop0 to loop7 at once, as the kernel's own default

void report(const std::string& line) {
  std::fprintf(stderr, "loopfs: %s\n", line.c_str());
}

// Everything of one sandbox, in the order in which it is made. Members are destroyed in the reverse order.
class Run {
 public:
  explicit Run(const RunOptions& options) : options_(options) {}

  Result<int> operator()() {
    // Both fork, and a fork wants a process with one thread: before any server starts.
    if (auto made = start_processes(); !made) return propagate(made);
    sys::raise_descriptor_limit();  // each device and each mount takes some; the command keeps its own limit
    auto served = uses_daemon() ? start_daemon_engine() : start_user_engine();
    if (!served) return propagate(served);
    if (auto finished = sandbox_->finish_setup(); !finished) return propagate(finished);
    // Found out later, it would be "Bad address" for each losetup.
    if (auto reached = check_reach(sys::probe_process(sandbox_->init_pidfd())); !reached)
      return propagate(reached);
    if (auto started = start_views(); !started) return propagate(started);
    if (auto attached = sandbox_->attach_views(); !attached) return propagate(attached);
    if (auto supervised = start_supervisor(); !supervised) return propagate(supervised);
    if (auto started = sandbox_->start_command(); !started) return propagate(started);
    auto status = sandbox_->wait();
    if (!stop()) {
      tell("calls of the sandbox are stuck in what its own processes serve: they are left");
      ::_exit(status ? *status : 1);
    }
    return status;
  }

 private:
  Result<void> start_processes() {
    auto programs = mounter::ProgramTable::load(options_.config);
    if (!programs) return propagate(programs);
    programs_ = std::move(*programs);
    auto agent = mounter::Agent::start();
    if (!agent) return propagate(agent);
    agent_ = std::move(*agent);
    sandbox::Options wanted{.command = options_.command,
                            .root = options_.root,
                            .binds = options_.binds,
                            .install_filter = [this] { return install_filter(); },
                            .report = [this](const std::string& line) { tell(line); }};
    if (uses_daemon()) wanted.mount_instance = [this] { return mount_instance(); };
    for (const auto& part : view::kParts) wanted.views.push_back({part.name, part.target});
    auto sandbox = sandbox::Sandbox::prepare(std::move(wanted));
    if (!sandbox) return propagate(sandbox);
    sandbox_ = std::move(*sandbox);
    return {};
  }

  Result<Fd> install_filter() const {
    return supervisor::install_filter({.loop_ioctls = uses_daemon(), .node_calls = !uses_daemon()});
  }

  bool uses_daemon() const { return options_.engine == "kernel"; }

  // In the sandbox's user namespace, where the instance is to belong.
  Result<sandbox::InstanceMount> mount_instance() const {
    auto mounted = client::ManagerClient(options_.socket).mount({.max = options_.max, .whole_dev = true});
    if (!mounted) return propagate(mounted, "loopfsd");
    return sandbox::InstanceMount{mounted->instance, std::move(mounted->mount)};
  }

  Result<void> start_daemon_engine() {
    manager_ = std::make_unique<client::ManagerClient>(options_.socket);
    calls_ = std::make_unique<client::ManagerClient>(options_.socket);
    Fd nodes(::fcntl(sandbox_->dev_directory(), F_DUPFD_CLOEXEC, 0));
    if (!nodes.valid()) return errno_fail("duplicate a descriptor");
    auto engine = std::make_unique<client::DaemonEngine>(client::DaemonEngine::Options{
        .client = manager_.get(), .instance = sandbox_->instance_id(), .nodes = std::move(nodes)});
    daemon_engine_ = engine.get();
    engine_ = std::move(engine);
    return {};
  }

  Result<void> start_user_engine() {
    auto engine = engine::UserEngine::create(
        {.max = options_.max,
         .taken = sys::loop_numbers_in_use(),
         .initial_devices = std::min(options_.max.value_or(kInitialDevices), kInitialDevices)});
    user_engine_ = engine.get();
    engine_ = std::move(engine);
    auto instance = fusefs::SandboxServer::create({.engine = engine_.get(),
                                                   .channels = sandbox_->take_instance_channels(),
                                                   .user_namespace = sandbox_->user_namespace(),
                                                   .device = sandbox_->instance_device(),
                                                   .mover = &window_});
    if (!instance) return propagate(instance);
    instance_ = std::move(*instance);
    engine_->add_observer(instance_.get());
    instance_->start();
    return {};
  }

  Result<void> start_views() {
    auto views =
        view::ViewServer::create({.engine = engine_.get(), .channels = sandbox_->take_view_channels()});
    if (!views) return propagate(views);
    views_ = std::move(*views);
    views_->start();
    return {};
  }

  Result<void> start_supervisor() {
    if (auto told = agent_->set_init(sandbox_->init_pidfd()); !told) return propagate(told);
    auto listener = sandbox_->take_listener();
    if (!listener) return propagate(listener);
    if (!*listener) {
      if (!supervisor::outer_supervisor_is_loopfs()) {
        tell(
            "another seccomp supervisor is in charge here: mounting loop devices is not possible in this "
            "sandbox;"
            " losetup, mkfs and the devices themselves work");
      }
      return {};
    }
    auto made = supervisor::Supervisor::create({.listener = std::move(**listener),
                                                .partners = mount_partners(),
                                                .kernel_mounts = kernel_mounts(),
                                                .ioctls = loop_ioctls(),
                                                .node_calls = node_calls()});
    if (!made) return propagate(made);
    supervisor_ = std::move(*made);
    supervisor_->start();
    return open_window();
  }  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): it loses sight of the moved ioctls

  supervisor::MountPartners mount_partners() {
    return {.engine = engine_.get(),
            .agent = agent_.get(),
            .programs = std::move(programs_),
            .instance_device = sandbox_->instance_device(),
            .invalidate = [this](auto node) { invalidate(node.device); },
            .report = [this](const std::string& line) { tell(line); }};
  }

  std::optional<supervisor::NodeCalls> node_calls() const {
    if (uses_daemon()) return std::nullopt;
    return supervisor::NodeCalls(engine_.get(), sandbox_->instance_device());
  }

  Result<void> open_window() {
    if (uses_daemon()) return {};
    const auto init = sys::pid_of_pidfd(sandbox_->init_pidfd());
    if (!init) return propagate(init);
    if (const auto status = sys::status_of(*init)) window_.open(status->seccomp_filters);
    return {};
  }

  // Unset: all mounts are for FUSE programs.
  supervisor::KernelMounts::Maker kernel_mounts() const {
    using Wanted = supervisor::KernelMounts::Wanted;
    if (!uses_daemon()) return {};
    const auto as_filesystem = [](const Wanted& wanted) {
      return client::FilesystemMount{.node = wanted.node,
                                     .type = wanted.type,
                                     .options = wanted.data,
                                     .attributes = mounter::attributes_of_flags(wanted.flags),
                                     .read_only = (wanted.flags & MS_RDONLY) != 0};
    };
    return {.mount =
                [=, manager = manager_.get(), instance = sandbox_->instance_id()](const Wanted& wanted) {
                  return manager->mount_filesystem(instance, as_filesystem(wanted));
                },
            .remount =
                [=, manager = manager_.get(), instance = sandbox_->instance_id()](const Wanted& wanted) {
                  return manager->remount_filesystem(instance, as_filesystem(wanted));
                }};
  }

  std::unique_ptr<supervisor::LoopIoctls> loop_ioctls() const {
    if (!uses_daemon()) return nullptr;
    client::ManagerClient* manager = manager_.get();
    client::ManagerClient* calls = calls_.get();
    const uint64_t instance = sandbox_->instance_id();
    return std::make_unique<supervisor::LoopIoctls>(supervisor::LoopIoctls::Options{
        .instance_device = sandbox_->instance_device(),
        .nodes = sandbox_->dev_directory(),
        .node_of_inode = [](ino_t number) -> std::optional<engine::NodeId> {
          const auto inode = fusefs::inode_of_number(number);
          if (!inode) return std::nullopt;
          return inode->node;
        },
        .node_of_device = [engine = daemon_engine_](dev_t device) { return engine->node_of_device(device); },
        .start_of_partition = [engine = daemon_engine_](auto node) { return engine->start_of(node); },
        .may_administrate =
            [owner = sandbox_->user_namespace()](pid_t tid) { return sys::has_sys_admin_over(owner, tid); },
        .ioctl =
            [=](uint32_t device, int fd, unsigned command, uint64_t value, std::span<const std::byte> bytes) {
              client::DeviceIoctl wanted{.command = command, .value = value};
              for (const std::byte byte : bytes) wanted.bytes.push_back(std::to_integer<uint8_t>(byte));
              return calls->ioctl(instance, device, fd, wanted);
            },
        .edit_partition =
            [=](uint32_t device, const sys::PartitionEdit& edit) {
              return manager->edit_partition(instance, device, edit);
            }});
  }

  // What the user may want to know, and can do without.
  void tell(const std::string& line) const {
    if (!options_.quiet) report(line);
  }

  // The device and its partitions are nodes of their own for the kernel, but show the same bytes.
  void invalidate(uint32_t device) {
    if (!instance_) return;  // the kernel's devices share one cache
    for (const auto& node : engine_->nodes()) {
      if (node.kind != engine::NodeId::Kind::kControl && node.device == device) instance_->invalidate(node);
    }
  }

  // The sandbox's processes are gone, and its mounts with them: the FUSE programs end by themselves.
  // False: not all threads have come to their end.
  bool stop() {
    agent_->stop();
    if (supervisor_ && !supervisor_->stop()) return false;
    views_->stop();
    if (user_engine_ == nullptr)
      return true;  // the instance ends with its mounts, and the daemon sees to that
    window_.close();
    user_engine_->end();
    instance_->wait_until_closed(std::chrono::seconds(mounter::Agent::kSecondsToFinish));
    instance_->stop();
    return true;
  }

  const RunOptions& options_;
  mounter::ProgramTable programs_;
  std::unique_ptr<mounter::Agent> agent_;
  std::unique_ptr<sandbox::Sandbox> sandbox_;
  std::unique_ptr<client::ManagerClient> manager_;  // of loopfsd, if that serves the instance
  std::unique_ptr<client::ManagerClient> calls_;    // for those that may wait for a file system
  std::unique_ptr<engine::Engine> engine_;          // one of the two that follow
  engine::UserEngine* user_engine_ = nullptr;
  client::DaemonEngine* daemon_engine_ = nullptr;
  supervisor::DescriptorWindow window_;
  std::unique_ptr<fusefs::SandboxServer> instance_;
  std::unique_ptr<view::ViewServer> views_;
  std::unique_ptr<supervisor::Supervisor> supervisor_;
};

}  // namespace

int run(const RunOptions& options) {
  auto status = Run(options)();
  if (!status) {
    report(status.error().message());
    return 1;
  }
  return *status;
}

}  // namespace loopfs::cli
