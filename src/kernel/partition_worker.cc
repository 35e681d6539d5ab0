#include "kernel/partition_worker.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <set>
#include <sstream>

#include "engine/partition_scan.h"
#include "sys/loop_device.h"

namespace loopfs::kernel {
namespace {

constexpr std::chrono::seconds kPatience{10};
constexpr size_t kMostAnswer = 64 << 10;  // bytes
constexpr uid_t kNobody = 65534;

// Both kinds of table, and little else, have this.
bool may_have_table(int device) {
  std::array<unsigned char, 512> sector{};
  return ::pread(device, sector.data(), sector.size(), 0) == static_cast<ssize_t>(sector.size()) &&
         sector[510] == 0x55 && sector[511] == 0xaa;
}

std::string read_answer(int pipe) {
  std::string answer;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (answer.size() < kMostAnswer) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd wait{pipe, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) return {};
    char piece[4096];
    const ssize_t got = ::read(pipe, piece, sizeof piece);
    if (got <= 0) return got == 0 ? answer : std::string();
    answer.append(piece, static_cast<size_t>(got));
  }
  return {};
}

Result<std::string> ask_worker(int device, const std::string& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_fail("pipe");
  const Fd answer(ends[0]);
  Fd question(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, device, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, question.get(), STDOUT_FILENO);
  std::string name = program, option = kScanOption;
  char* words[] = {name.data(), option.data(), nullptr};
  char* none[] = {nullptr};
  pid_t pid = 0;
  const int code = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, words, none);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return fail(code, "run '{}'", program);
  question.reset();
  std::string text = read_answer(answer.get());
  int status = 0;
  ::kill(pid, SIGKILL);  // it has answered, or never will
  ::waitpid(pid, &status, 0);
  return text;
}

}  // namespace

Result<void> add_partitions(const Binding& binding, const std::string& program) {
  auto device = binding.open(0, O_RDONLY);
  if (!device) return propagate(device);
  if (!may_have_table(device->get()) || !sys::loop_partition_numbers(binding.number()).empty()) return {};
  auto answer = ask_worker(device->get(), program);
  if (!answer) return propagate(answer);
  for (const sys::PartitionEdit& edit : parse_partition_lines(*answer)) {
    (void)sys::edit_partition(device->get(), edit);
  }
  return {};
}

std::string partition_lines(const std::map<uint32_t, instance::Partition>& partitions) {
  std::string text;
  for (const auto& [number, partition] : partitions) {
    text += fmt::format("{} {} {}\n", number, partition.start, partition.size);
  }
  return text;
}

std::vector<sys::PartitionEdit> parse_partition_lines(const std::string& answer) {
  std::vector<sys::PartitionEdit> edits;
  std::set<int> seen;
  std::istringstream lines(answer);
  for (sys::PartitionEdit edit{.operation = BLKPG_ADD_PARTITION};
       lines >> edit.number >> edit.start >> edit.length;) {
    if (edit.number < 1 || edit.number > static_cast<int>(instance::kMostPartitions)) continue;
    if (seen.insert(edit.number).second) edits.push_back(edit);
  }
  return edits;
}

int scan_standard_input() {
  uint64_t size = 0;
  int block_size = 0;
  if (::ioctl(STDIN_FILENO, BLKGETSIZE64, &size) != 0 || ::ioctl(STDIN_FILENO, BLKSSZGET, &block_size) != 0)
    return 1;
  const rlimit memory{256U << 20, 256U << 20}, time{5, 5}, files{8, 8};
  ::setrlimit(RLIMIT_AS, &memory);
  ::setrlimit(RLIMIT_CPU, &time);
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 1;
  if (::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWUTS) != 0) return 1;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
      ::setresuid(kNobody, kNobody, kNobody) != 0) {
    return 1;
  }
  const auto found = engine::scan_partitions(STDIN_FILENO, 0, size, static_cast<uint32_t>(block_size));
  if (!found) return 1;
  const std::string text = partition_lines(*found);
  return ::write(STDOUT_FILENO, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1;
}

}  // namespace loopfs::kernel
