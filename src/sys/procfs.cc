#include "sys/procfs.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <span>

#include "base/fd.h"
#include "base/number.h"

namespace loopfs::sys {
namespace {

// How often a thread that is not asleep yet is looked at again: first at once, then every 0.1 ms.
constexpr int kYields = 50;
constexpr int kPauses = 1000;
constexpr timespec kPause{0, 100'000};

Result<Fd> open_small(const char* path) {
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (fd.valid()) return fd;
  if (errno == ENOENT) return fail(ESRCH, "open '{}'", path);
  return errno_fail("open '{}'", path);
}

// The whole of a small file of proc, read at once as proc wants it.
Result<std::string_view> read_small(const char* path, std::span<char> buffer) {
  const auto fd = open_small(path);
  if (!fd) return propagate(fd);
  const ssize_t length = ::read(fd->get(), buffer.data(), buffer.size());
  if (length < 0) return errno_fail("read '{}'", path);
  return std::string_view(buffer.data(), static_cast<size_t>(length));
}

std::string_view take_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  const size_t length = std::min(text.find_first_of(" \n"), text.size());
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  return word;
}

template <typename Number>
bool set_number(std::string_view word, Number& number, int number_base) {
  if (number_base == 16 && word.starts_with("0x")) word.remove_prefix(2);
  const auto parsed = base::parse_number<Number>(word, number_base);
  if (parsed) number = *parsed;
  return parsed.has_value();
}

// The rest of the line that starts with `key`.
std::optional<std::string_view> status_field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(key)) {
      std::string_view value = line.substr(key.size());
      value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
      return value;
    }
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return std::nullopt;
}

}  // namespace

std::optional<SystemCall> parse_system_call(std::string_view line) {
  SystemCall call;
  if (!set_number(take_word(line), call.number, 10)) return std::nullopt;
  if (call.number >= 0) {
    for (uint64_t& argument : call.arguments) {
      if (!set_number(take_word(line), argument, 16)) return std::nullopt;
    }
  }
  if (!set_number(take_word(line), call.stack_pointer, 16)) return std::nullopt;
  if (!set_number(take_word(line), call.program_counter, 16)) return std::nullopt;
  return call;
}

// A thread is mostly asked about several times in a row, so the file of the last one stays open. Once that thread is
// gone it cannot be read any more, whoever has its number by then.
Result<std::optional<SystemCall>> system_call_now(pid_t tid) {
  static thread_local struct {
    pid_t tid = 0;
    Fd file;
  } last;
  char buffer[256];
  ssize_t length = -1;
  if (last.tid == tid) length = ::pread(last.file.get(), buffer, sizeof buffer, 0);
  if (length < 0) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/syscall", tid);
    auto opened = open_small(path);
    if (!opened) return propagate(opened);
    last = {tid, std::move(*opened)};
    length = ::pread(last.file.get(), buffer, sizeof buffer, 0);
    if (length < 0) return errno_fail("read '{}'", path);
  }
  return parse_system_call(std::string_view(buffer, static_cast<size_t>(length)));
}

Result<std::string> wait_channel_of(pid_t tid) {
  char path[64], buffer[256];
  std::snprintf(path, sizeof path, "/proc/%d/wchan", tid);
  const auto text = read_small(path, buffer);
  if (!text) return propagate(text);
  return std::string(*text);
}

Result<uint64_t> run_time_of(pid_t tid) {
  char path[64], buffer[256];
  std::snprintf(path, sizeof path, "/proc/%d/schedstat", tid);
  const auto text = read_small(path, buffer);
  if (!text) return propagate(text);
  std::string_view rest = *text;
  uint64_t time = 0;
  if (!set_number(take_word(rest), time, 10)) return fail(EINVAL, "read '{}'", path);
  return time;
}

Result<SystemCall> system_call_of(pid_t tid) {
  for (int attempt = 0; attempt < kYields + kPauses; ++attempt) {
    const auto call = system_call_now(tid);
    if (!call) return propagate(call);
    if (*call) return **call;
    if (attempt < kYields) {
      ::sched_yield();
    } else {
      ::nanosleep(&kPause, nullptr);
    }
  }
  return fail(ETIMEDOUT, "read '/proc/{}/syscall': it does not sleep", tid);
}

std::optional<ThreadStatus> parse_status(std::string_view text) {
  ThreadStatus status;
  const auto process = status_field(text, "Tgid:");
  const auto capabilities = status_field(text, "CapEff:");
  if (!process || !set_number(*process, status.process, 10)) return std::nullopt;
  if (!capabilities || !set_number(*capabilities, status.effective_capabilities, 16)) return std::nullopt;
  if (const auto filters = status_field(text, "Seccomp_filters:"))
    set_number(*filters, status.seccomp_filters, 10);
  return status;
}

Result<ThreadStatus> status_of(pid_t tid) {
  char path[64], buffer[8192];
  std::snprintf(path, sizeof path, "/proc/%d/status", tid);
  const auto text = read_small(path, buffer);
  if (!text) return propagate(text);
  const auto status = parse_status(*text);
  if (!status) return fail(EINVAL, "read '{}': no Tgid or CapEff", path);
  return *status;
}

namespace {

Result<NamespaceId> namespace_of(pid_t tid, const char* kind) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/ns/%s", tid, kind);
  struct stat status = {};
  if (::stat(path, &status) != 0) return errno_fail("stat '{}'", path);
  return NamespaceId{status.st_dev, status.st_ino};
}

}  // namespace

Result<NamespaceId> user_namespace_of(pid_t tid) {
  return namespace_of(tid, "user");
}

Result<NamespaceId> pid_namespace_of(pid_t pid) {
  return namespace_of(pid, "pid");
}

Result<NamespaceId> namespace_id(int namespace_fd) {
  struct stat status = {};
  if (::fstat(namespace_fd, &status) != 0) return errno_fail("fstat of a namespace");
  return NamespaceId{status.st_dev, status.st_ino};
}

namespace {

Result<std::string> read_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  if (length < 0) return errno_fail("readlink '{}'", path);
  return std::string(target, static_cast<size_t>(length));
}

}  // namespace

Result<int> flags_of_fd(pid_t tid, int fd) {
  char path[64], buffer[1024];
  std::snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", tid, fd);
  const auto text = read_small(path, buffer);
  if (!text) return propagate(text);
  int flags = 0;
  const auto field = status_field(*text, "flags:");
  if (!field || !set_number(*field, flags, 8)) return fail(EINVAL, "read '{}': no flags", path);
  return flags;
}

Result<std::string> path_of_fd(pid_t tid, int fd) {
  return read_link(fmt::format("/proc/{}/fd/{}", tid, fd));
}

Result<std::string> path_of_own_fd(int fd) {
  return read_link(fmt::format("/proc/self/fd/{}", fd));
}

}  // namespace loopfs::sys
