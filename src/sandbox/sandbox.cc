#include "sandbox/sandbox.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "sandbox/control.h"
#include "sandbox/job_control.h"
#include "sandbox/map_ids.h"
#include "sandbox/remedy.h"
#include "sandbox/setup.h"
#include "sys/message.h"
#include "sys/pidfd.h"

namespace loopfs::sandbox {
namespace {

constexpr int kDeadlineOfDeath = 5000;  // milliseconds for the kernel to end a killed sandbox
constexpr int kDeadlineOfEnd =
    60'000;  // the same of what a command leaves behind, which may have much to write out

// Waits for the end of a child and returns what waitid(2) says.
Result<siginfo_t> reap(int pidfd) {
  siginfo_t info = {};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
    if (errno != EINTR) return errno_fail("wait for the sandbox");
  }
  return info;
}

// The set-up process, until it has ended by itself. Killed when the object goes first.
class SetupProcess {
 public:
  explicit SetupProcess(pid_t pid) : pid_(pid) {}
  SetupProcess(SetupProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  SetupProcess& operator=(SetupProcess&&) = delete;
  ~SetupProcess() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }
  pid_t pid() const { return pid_; }
  void wait() {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

}  // namespace

struct State {
  Options options;
  SignalState signals;
  std::optional<SignalQueue> queue;
  Terminal terminal;
  Fd control;  // to set-up, then init; its closing ends them
  Fd init;     // pidfd; invalid once reaped
  Fd command;  // pidfd
  Fd dev;
  Fd user_namespace;
  dev_t device = 0;
  uint64_t instance = 0;
  std::vector<Fd> instance_channels;
  std::vector<Fd> view_channels;
  std::optional<SetupProcess> setup;

  // The next note. Errors: what the other side reports, EPIPE. Does not return if we are told to end.
  Result<Note> receive();
  Result<Note> expect(Act act);
  Result<void> ask(Act act, Act answer);
  Result<void> take_init(const Note& note);
  Result<void> take_tree(Note note);
  void kill_init();
  // Until there is a command to get them, signals that mean "end" end us, and with us the sandbox.
  void obey_interruptions();
};

namespace {

Result<void> start_setup(State& state) {
  auto ends = sys::socket_pair();
  if (!ends) return propagate(ends);
  std::error_code unknown;
  const std::string directory = std::filesystem::current_path(unknown);
  const pid_t pid = ::fork();
  if (pid < 0) return errno_fail("fork");
  if (pid == 0) {
    ends->first.reset();  // so that the end of loopfs shows as the end of the socket
    InitialState initial;
    initial.options = &state.options;
    initial.signals = state.signals;
    initial.working_directory = unknown ? std::string() : directory;
    initial.control = ends->second.get();
    run_setup(std::move(initial));
  }
  state.control = std::move(ends->first);
  state.setup.emplace(pid);
  return {};
}

// One attempt with one way to map the ids. `map_failed` tells that it failed for those.
Result<void> make_sandbox(State& state, const IdMapPlan& plan, bool& map_failed) {
  if (auto started = start_setup(state); !started) return started;
  if (auto note = state.expect(Act::kNamespaces); !note) return propagate(note);
  auto applied = explained(apply_id_maps(plan, state.setup->pid()), Step::kIdMaps);
  map_failed = !applied;
  if (map_failed) return applied;
  if (auto sent = send_note(state.control.get(), Act::kMapped); !sent) return sent;
  for (;;) {
    auto note = state.receive();
    if (!note) return propagate(note);
    if (note->act == Act::kInstanceChannels) {
      std::move(note->fds.begin(), note->fds.end(), std::back_inserter(state.instance_channels));
    } else if (note->act == Act::kViewChannels) {
      std::move(note->fds.begin(), note->fds.end(), std::back_inserter(state.view_channels));
    } else if (note->act == Act::kTree) {
      return state.take_tree(std::move(*note));
    } else {
      return fail(EPROTO, "set up the sandbox");
    }
  }
}

}  // namespace

Result<Note> State::receive() {
  for (;;) {
    pollfd poll_fds[] = {{control.get(), POLLIN, 0}, {queue->fd(), POLLIN, 0}};
    if (::poll(poll_fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return errno_fail("poll");
    }
    obey_interruptions();
    if (!poll_fds[0].revents) continue;
    auto note = receive_note(control.get());
    if (!note) return propagate(note);
    if (!*note) return fail(EPIPE, "the sandbox's first process ended unexpectedly");
    if ((*note)->act == Act::kFailed) return fail((*note)->value, "{}", (*note)->text);
    return std::move(**note);
  }
}

Result<Note> State::expect(Act act) {
  auto note = receive();
  if (note && note->act != act) return fail(EPROTO, "set up the sandbox");
  return note;
}

Result<void> State::ask(Act act, Act answer) {
  if (auto sent = send_note(control.get(), act); !sent) return sent;
  if (auto note = expect(answer); !note) return propagate(note);
  return {};
}

Result<void> State::take_init(const Note& note) {
  auto pidfd = sys::pidfd_of_process(note.value);
  if (!pidfd) return propagate(pidfd);
  init = std::move(*pidfd);
  return {};
}

Result<void> State::take_tree(Note note) {
  if (note.fds.size() != 2) return fail(EPROTO, "set up the sandbox");
  dev = std::move(note.fds[0]);
  user_namespace = std::move(note.fds[1]);
  device = note.device;
  instance = static_cast<uint32_t>(note.value);
  return {};
}

void State::obey_interruptions() {
  const auto signal = queue->next_interruption();
  if (!signal) return;
  kill_init();
  terminal.take_back();
  die_of(*signal);
}

void State::kill_init() {
  if (setup) {
    instance_channels.clear();  // it may wait for an answer of the instance's
    view_channels.clear();
    setup.reset();
  }
  if (!init.valid()) return;
  (void)sys::send_signal(init.get(), SIGKILL);
  // A process of the sandbox may hang in a FUSE request that nobody answers any more: that ends with our
  // descriptors, so do not wait for ever.
  instance_channels.clear();
  view_channels.clear();
  pollfd poll_fd{init.get(), POLLIN, 0};
  if (::poll(&poll_fd, 1, kDeadlineOfDeath) > 0) (void)reap(init.get());
  init.reset();
}

Sandbox::Sandbox(std::unique_ptr<State> state) : state_(std::move(state)) {}

Sandbox::~Sandbox() {
  state_->kill_init();
}

Result<std::unique_ptr<Sandbox>> Sandbox::prepare(Options options) {
  if (options.command.empty()) return fail(EINVAL, "no command");
  std::unique_ptr<Sandbox> sandbox(new Sandbox(std::make_unique<State>()));
  State& state = *sandbox->state_;
  state.options = std::move(options);
  // An ignored SIGCHLD, as a caller may leave it to us, makes children vanish with their status.
  struct sigaction child = {};
  child.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &child, &state.signals.child);
  auto queue = SignalQueue::create(&state.signals.mask);
  if (!queue) return propagate(queue);
  state.queue.emplace(std::move(*queue));

  const std::vector<IdMapPlan> plans = plan_id_maps(read_id_facts());
  std::string failed_maps;
  for (size_t i = 0; i < plans.size(); ++i) {
    bool map_failed = false;
    auto made = make_sandbox(state, plans[i], map_failed);
    if (made) break;
    if (!map_failed || i + 1 == plans.size()) return propagate(made);
    failed_maps = made.error().message();
  }
  if (!failed_maps.empty() && state.options.report) {
    state.options.report(failed_maps + "; the sandbox has a single user id");
  }
  return sandbox;
}

std::vector<Fd> Sandbox::take_instance_channels() {
  return std::exchange(state_->instance_channels, {});
}
std::vector<Fd> Sandbox::take_view_channels() {
  return std::exchange(state_->view_channels, {});
}
int Sandbox::dev_directory() const {
  return state_->dev.get();
}
int Sandbox::user_namespace() const {
  return state_->user_namespace.get();
}
int Sandbox::init_pidfd() const {
  return state_->init.get();
}
dev_t Sandbox::instance_device() const {
  return state_->device;
}
uint64_t Sandbox::instance_id() const {
  return state_->instance;
}

Result<void> Sandbox::finish_setup() {
  State& state = *state_;
  // They come from two processes, in either order.
  for (bool ready = false; !ready || !state.init.valid();) {
    auto note = state.receive();
    if (!note) return propagate(note);
    if (note->act == Act::kInit) {
      // No reaping by anyone else: the number is still init's.
      if (auto taken = state.take_init(*note); !taken) return taken;
    } else if (note->act == Act::kDone) {
      ready = true;
    } else {
      return fail(EPROTO, "set up the sandbox");
    }
  }
  state.setup->wait();
  return {};
}

Result<void> Sandbox::attach_views() {
  auto attached = state_->ask(Act::kAttachViews, Act::kDone);
  if (!attached) return propagate(attached, "attach the views");
  return {};
}

Result<std::optional<Fd>> Sandbox::take_listener() {
  if (auto sent = send_note(state_->control.get(), Act::kInstallFilter); !sent) return propagate(sent);
  auto note = state_->receive();
  if (!note) return propagate(note, "install the seccomp filter");
  if (note->act == Act::kNoListener) return std::optional<Fd>();
  if (note->act != Act::kListener || note->fds.size() != 1) return fail(EPROTO, "install the seccomp filter");
  return std::optional<Fd>(std::move(note->fds[0]));
}

Result<void> Sandbox::start_command() {
  state_->obey_interruptions();
  if (auto sent = send_note(state_->control.get(), Act::kStart); !sent) return sent;
  auto note = state_->expect(Act::kCommand);
  if (!note) return propagate(note, "start '{}'", state_->options.command[0]);
  if (note->fds.size() != 1) return fail(EPROTO, "start '{}'", state_->options.command[0]);
  state_->command = std::move(note->fds[0]);
  return {};
}

namespace {

// What init says while the command runs. From here on the sandbox may have taken init over: nothing it says is
// believed beyond "the command has stopped" and "it has ended". Returns the command's status once it has.
std::optional<int> follow(State& state) {
  auto note = receive_note(state.control.get());
  if (!note || !*note) {
    state.control.reset();  // init is ending
    return std::nullopt;
  }
  if ((*note)->act == Act::kEnded) return (*note)->value & 0xff;
  if ((*note)->act != Act::kStopped) return std::nullopt;
  state.terminal.command_stopped(state.command.get());
  stop_self((*note)->value);
  return std::nullopt;
}

}  // namespace

Result<int> Sandbox::wait() {
  State& state = *state_;
  std::optional<int> status;
  for (;;) {
    pollfd poll_fds[] = {
        {state.init.get(), POLLIN, 0}, {state.queue->fd(), POLLIN, 0}, {state.control.get(), POLLIN, 0}};
    const int ready = ::poll(poll_fds, 3, status ? kDeadlineOfEnd : -1);
    if (ready < 0 && errno != EINTR) return errno_fail("poll");
    if (poll_fds[0].revents) break;
    if (status && ready == 0) {
      // It hangs in the kernel, and with it the pid namespace; the descriptors that it may wait for end with loopfs.
      if (state.options.report)
        state.options.report("a process of the sandbox cannot be killed, and is left");
      state.init.reset();
      state.terminal.take_back();
      return *status;
    }
    while (const auto signal = state.queue->next()) {
      if (*signal == SIGCONT) state.terminal.command_continues();
      (void)sys::send_signal(state.command.get(), *signal);  // ESRCH: the command has just ended
    }
    if (poll_fds[2].revents) {
      if (const auto ended = follow(state)) status = ended;
    }
  }
  auto info = reap(state.init.get());
  if (!info) return propagate(info);
  state.init.reset();
  state.terminal.take_back();
  return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

}  // namespace loopfs::sandbox
