#include "daemon/server.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/admission.h"
#include "daemon/exit_status.h"
#include "daemon/manager.h"
#include "daemon/metrics.h"
#include "daemon/service.h"
#include "keeper/keeper.h"
#include "keeper/store.h"
#include "kernel/number_lock.h"
#include "porter/porters.h"
#include "sys/last_close.h"
#include "sys/process.h"
#include "varlink/server.h"

namespace loopfs::daemon {
namespace {

constexpr std::chrono::seconds kPatience{3};     // for calls that are under way at the end
constexpr std::chrono::seconds kLastMoments{1};  // for closing what can be closed

Result<int> wait_for_signal() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1}) ::sigaddset(&signals, signal);
  int received = 0;
  if (const int error = ::sigwait(&signals, &received); error != 0) return fail(error, "sigwait");
  return received;
}

// Before any thread starts: all inherit the mask.
void block_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP, SIGPIPE}) ::sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
}

Result<Fd> listening_socket(std::vector<keeper::Item>& kept) {
  for (keeper::Item& item : kept) {
    if (item.name == keeper::kListenItem && !item.fds.empty()) return std::move(item.fds.front());
  }
  return fail(ENOENT, "the keeper has no listening socket");
}

// Before anything is done with a device. An earlier server's lock is the keeper's, and so is ours for the next.
Result<Fd> lock_numbers(const kernel::DevicePool::Options& numbers, std::vector<keeper::Item>& kept,
                        keeper::Store& store) {
  constexpr const char* kItem = "numbers";
  Fd earlier;
  for (keeper::Item& item : kept) {
    if (item.name == kItem && !item.fds.empty()) earlier = std::move(item.fds.front());
  }
  const bool is_kept = earlier.valid();
  auto lock = kernel::lock_numbers(numbers, std::move(earlier));
  if (!lock || is_kept) return lock;
  const int fd = lock->get();
  if (auto put = store.put(kItem, {}, std::span(&fd, 1)); !put) return propagate(put);
  return lock;
}

void be_silent() {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ::dup2(null.get(), STDERR_FILENO);
}

Result<int> run(const ServerOptions& options, policy::Config config,
                std::unique_ptr<porter::ForkServer> forks) {
  spdlog::set_level(spdlog::level::from_str(config.daemon().log_level));
  for (const auto& warning : config.warnings()) spdlog::warn("{}", warning);
  sys::raise_descriptor_limit();
  keeper::Store store{Fd(options.store)};
  porter::Porters porters(std::move(forks));
  auto kept = store.load();
  if (!kept) return propagate(kept);
  auto socket = listening_socket(*kept);
  if (!socket) return propagate(socket);
  const kernel::DevicePool::Options devices{.first = options.first_device};
  const auto numbers = lock_numbers(devices, *kept, store);  // held as long as we serve
  if (!numbers) return propagate(numbers);
  const std::string metrics_file = config.daemon().metrics;
  const std::chrono::seconds metrics_interval(config.daemon().metrics_interval);
  auto manager =
      Manager::create({.config = std::move(config), .devices = devices, .store = &store, .porters = &porters},
                      std::move(*kept));
  if (!manager) return propagate(manager);
  auto server =
      varlink::Server::create({.socket = std::move(*socket),
                               .information = {"loopfs", "loopfsd", LOOPFS_VERSION, "https://loopfs.io"},
                               .interfaces = {manager_interface(manager->get())},
                               .admit = admission(&(*manager)->allotments().connections()),
                               .close_elsewhere = [&porters](Fd fd) { porters.close(std::move(fd)); }});
  if (!server) return propagate(server);
  if (auto started = (*server)->start(); !started) return propagate(started);
  const MetricsFile metrics(metrics_file, metrics_interval, manager->get());
  if (auto told = store.ready(); !told) return propagate(told);
  spdlog::info("ready");
  if (options.silent) be_silent();
  auto signal = wait_for_signal();
  if (!signal) return propagate(signal);
  const bool all_answered = (*server)->stop(kPatience);
  const int status = *signal == SIGUSR1 ? keeper::kReplaceStatus : 0;
  if (status == 0) (*manager)->end_instances();
  // Threads that are stuck in somebody's file system cannot be waited for; the kernel ends them with us. And what
  // the next server is to find must not be given up, as the destructors of open files would.
  const bool stuck = !(*manager)->stop() || !all_answered;
  // A thread that hangs keeps what the process has open: then others' devices would be, too.
  if (stuck) (void)sys::give_up_descriptors(STDERR_FILENO + 1, kLastMoments);
  if (stuck || status == keeper::kReplaceStatus) ::_exit(status);
  return status;
}

}  // namespace

int serve(const ServerOptions& options) {
  // Before there is a thread, and anything that a child could inherit.
  auto forks = porter::ForkServer::start();
  spdlog::set_default_logger(spdlog::stderr_logger_mt("loopfsd"));
  block_signals();
  auto config = policy::Config::load(options.config);
  if (!config) {
    spdlog::critical("{}", config.error().message());
    return keeper::kGiveUpStatus;
  }
  auto status = forks ? run(options, std::move(*config), std::move(*forks)) : Result<int>(propagate(forks));
  if (status) return *status;
  spdlog::critical("{}", status.error().message());
  return exit_status(status.error());
}

}  // namespace loopfs::daemon
