#include "porter/foreign.h"

#include <algorithm>
#include <thread>

namespace loopfs::porter {
namespace {

constexpr std::chrono::milliseconds kFirstPause{1}, kLongestPause{128};
// Short: at the end of the daemon somebody waits for all of them.
constexpr std::chrono::milliseconds kPatienceToClear{1000};
constexpr std::nullopt_t kAsLongAsItTakes = std::nullopt;

}  // namespace

Result<Errand> Account::begin() const {
  if (!permit) return porters->begin(nullptr);
  // Mostly others of the same owner are about to be through.
  const auto deadline = std::chrono::steady_clock::now() + Errand::kPatience;
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    porters->sweep();
    auto given = permit();
    if (given) return porters->begin(std::move(*given));
    if (std::chrono::steady_clock::now() > deadline) return propagate(given);
    std::this_thread::sleep_for(pause);
  }
}

Result<ForeignFile> ForeignFile::take(const Account& account, pid_t tid, int number) {
  if (number < 0) return fail(EBADF, "descriptor {}", number);
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  ForeignFile file(std::move(*errand));
  const Order order{.act = Act::kTakeFile,
                    .tid = tid,
                    .number = number,
                    .instance = account.instance,
                    .fuse_backing = account.fuse_backing};
  const auto reply = file.errand_.ask(order, Errand::kPatience);
  if (!reply) return propagate(reply);
  file.facts_ = reply->answer.facts;
  return file;
}

Result<ForeignFile> ForeignFile::take_any(const Account& account, pid_t tid, int number) {
  if (number < 0) return fail(EBADF, "descriptor {}", number);
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  ForeignFile file(std::move(*errand));
  const auto reply =
      file.errand_.ask({.act = Act::kTakeDescriptor, .tid = tid, .number = number}, Errand::kPatience);
  if (!reply) return propagate(reply);
  return file;
}

Result<void> ForeignFile::with_device(Act act, int device, const loop_config& config) {
  const auto reply = errand_.ask({.act = act, .config = config}, kAsLongAsItTakes, {}, std::span(&device, 1));
  if (!reply) return propagate(reply);
  return {};
}

Result<void> ForeignFile::bind_to(int device, const loop_config& config) {
  return with_device(Act::kConfigure, device, config);
}

Result<void> ForeignFile::change_to(int device) {
  return with_device(Act::kChangeFile, device, {});
}

bool ForeignFile::is_behind(int device) {
  return errand_.ask({.act = Act::kIsBacking}, Errand::kPatience, {}, std::span(&device, 1)).has_value();
}

Result<void> ForeignFile::ioctl(uint64_t disk_sequence, const DeviceIoctl& call, int hangup) {
  const Order order{
      .act = Act::kIoctl, .address = call.value, .value = disk_sequence, .command = call.command};
  const auto reply = errand_.ask(order, kAsLongAsItTakes, call.bytes, {}, hangup);
  if (!reply) return propagate(reply);
  return {};
}

Result<void> read_memory(const Account& account, pid_t tid, uint64_t address, std::span<std::byte> bytes) {
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  const Order order{.act = Act::kReadMemory, .tid = tid, .address = address, .size = bytes.size()};
  const auto reply = errand->ask(order, Errand::kPatience);
  if (!reply) return propagate(reply);
  if (reply->packet.bytes.size() != bytes.size()) return fail(EFAULT, "read the caller's memory");
  std::ranges::copy(reply->packet.bytes, bytes.begin());
  return {};
}

Result<void> write_memory(const Account& account, pid_t tid, uint64_t address,
                          std::span<const std::byte> bytes) {
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  const auto reply =
      errand->ask({.act = Act::kWriteMemory, .tid = tid, .address = address}, Errand::kPatience, bytes);
  if (!reply) return propagate(reply);
  return {};
}

Result<void> clear_device(Porters& porters, uint32_t number, uint64_t disk_sequence) {
  auto errand = porters.begin(nullptr);
  if (!errand) return propagate(errand);
  const Order order{.act = Act::kClear, .number = static_cast<int32_t>(number), .value = disk_sequence};
  const auto reply = errand->ask(order, kPatienceToClear);
  if (!reply) return propagate(reply);
  return {};
}

namespace {

Result<Errand::Reply> ask_for_mount(Errand& errand, Act act, const MountOrder& order) {
  const KernelMount& wanted = order.mount;
  std::vector<std::string> words{wanted.type, wanted.node, wanted.source, wanted.read_only ? "ro" : "rw"};
  for (const auto& [key, value] : wanted.parameters) {
    words.push_back(key);
    words.push_back(value);
  }
  const int fds[] = {order.device, wanted.user_namespace};
  return errand.ask({.act = act, .value = wanted.attributes}, kAsLongAsItTakes, join_words(words),
                    std::span(fds).first(wanted.user_namespace >= 0 ? 2 : 1), order.hangup);
}

}  // namespace

Result<ForeignMount> mount_filesystem(const Account& account, const MountOrder& order) {
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  auto reply = ask_for_mount(*errand, Act::kMountFilesystem, order);
  if (!reply) return propagate(reply);
  if (reply->packet.fds.size() != 1) return fail(EPROTO, "a porter's answer without a mount");
  return ForeignMount{std::move(*errand), std::move(reply->packet.fds.front())};
}

Result<void> remount_filesystem(const Account& account, const MountOrder& order) {
  auto errand = account.begin();
  if (!errand) return propagate(errand);
  auto reply = ask_for_mount(*errand, Act::kRemountFilesystem, order);
  if (!reply) return propagate(reply);
  return {};
}

}  // namespace loopfs::porter
