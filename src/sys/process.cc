#include "sys/process.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

namespace loopfs::sys {

Result<Child> fork_for_parent(unsigned long flags) {
  int pidfd = -1;
  const long pid =
      ::syscall(SYS_clone, flags | CLONE_PARENT | CLONE_PIDFD, nullptr, &pidfd, nullptr, nullptr);
  if (pid < 0) return errno_fail("clone");
  if (pid == 0) return Child{};
  return Child{static_cast<pid_t>(pid), Fd(pidfd)};
}

Result<void> limit_capabilities(const std::vector<int>& kept) {
  uint64_t mask = 0;
  for (const int capability : kept) mask |= uint64_t{1} << capability;
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    if (((mask >> capability) & 1) == 0 && ::prctl(PR_CAPBSET_DROP, capability) != 0) {
      return errno_fail("PR_CAPBSET_DROP {}", capability);
    }
  }
  if (::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED) != 0)
    return errno_fail("PR_SET_SECUREBITS");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  for (int half = 0; half < 2; ++half) {
    const auto bits = static_cast<uint32_t>(mask >> (32 * half));
    sets[half] = {bits, bits, bits};
  }
  if (::syscall(SYS_capset, &header, sets) != 0) return errno_fail("capset");
  for (const int capability : kept) {
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      return errno_fail("PR_CAP_AMBIENT_RAISE {}", capability);
    }
  }
  return {};
}

Result<uint64_t> effective_capabilities_of(pid_t tid) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, tid};
  __user_cap_data_struct sets[2]{};
  if (::syscall(SYS_capget, &header, sets) != 0) return errno_fail("capget {}", tid);
  return uint64_t{sets[1].effective} << 32 | sets[0].effective;
}

bool is_zombie(pid_t pid) {
  char path[64], text[512];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t length = ::read(file.get(), text, sizeof text);
  if (length <= 0) return false;
  // "PID (NAME) STATE ...": the name can have anything in it.
  const std::string_view line(text, static_cast<size_t>(length));
  const size_t end = line.rfind(')');
  return end != std::string_view::npos && line.substr(end).starts_with(") Z");
}

Result<void> close_from_at_exec(unsigned first) {
  if (::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return errno_fail("close_range");
  return {};
}

Result<void> close_all_except(int kept) {
  const auto number = static_cast<unsigned>(kept);
  if (number > 0 && ::syscall(SYS_close_range, 0U, number - 1, 0U) != 0) return errno_fail("close_range");
  if (::syscall(SYS_close_range, number + 1, ~0U, 0U) != 0) return errno_fail("close_range");
  return {};
}

void raise_descriptor_limit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::vector<sock_filter>> compile_filter(void* context) {
  const Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file.valid()) return errno_fail("memfd_create");
  if (const int code = ::seccomp_export_bpf(context, file.get()); code != 0)
    return fail(-code, "seccomp_export_bpf");
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return errno_fail("fstat");
  std::vector<sock_filter> program(static_cast<size_t>(status.st_size) / sizeof(sock_filter));
  if (::pread(file.get(), program.data(), program.size() * sizeof(sock_filter), 0) != status.st_size) {
    return fail(EIO, "read a seccomp filter");
  }
  return program;
}

}  // namespace loopfs::sys
