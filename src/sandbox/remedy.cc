#include "sandbox/remedy.h"

#include <unistd.h>

#include <fstream>

namespace loopfs::sandbox {
namespace {

std::optional<long> read_number(const char* path) {
  std::ifstream file(path);
  long value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

std::string remedy_for_namespace(int code, const MachineFacts& facts) {
  if (facts.most_user_namespaces && *facts.most_user_namespaces == 0) {
    return "user namespaces are switched off: as root, sysctl -w user.max_user_namespaces=15000";
  }
  if (code == ENOSPC) return "all user namespaces are in use: as root, raise sysctl user.max_user_namespaces";
  if (code == EINVAL || code == ENOSYS) return "this kernel is built without user namespaces";
  if (code != EPERM && code != EACCES) return {};
  if (facts.unprivileged_userns_clone && *facts.unprivileged_userns_clone == 0) {
    return "as root, sysctl -w kernel.unprivileged_userns_clone=1";
  }
  return "user namespaces are forbidden here: in a container, allow them (--security-opt "
         "seccomp=unconfined); in a "
         "chroot, run loopfs outside of it";
}

std::string remedy_for_fuse(int code) {
  switch (code) {
    case ENOENT:
      return "there is no FUSE here: as root, modprobe fuse; in a container, --device /dev/fuse";
    case ENXIO:
    case ENODEV:
      return "the kernel has no FUSE: as root, modprobe fuse";
    case EACCES:
      return "as root, chmod 666 /dev/fuse";
    case EPERM:
      return "the device cgroup forbids it: start the container with --device /dev/fuse";
    default:
      return {};
  }
}

// Docker's profile lets these calls through for CAP_SYS_PTRACE.
std::string remedy_for_caller(int code, const char* needs, const MachineFacts& facts) {
  if (facts.ptrace_scope.value_or(0) >= 3)
    return "Yama forbids it until the next boot: set kernel.yama.ptrace_scope below 3";
  constexpr const char* kOptions =
      "start the container with --cap-add SYS_PTRACE, or with --security-opt seccomp=unconfined";
  // A profile may say ENOSYS, too, as podman's does.
  if (code == ENOSYS)
    return fmt::format("{}; if that is so, a container's seccomp profile forbids it: {}", needs, kOptions);
  if (code != EPERM && code != EACCES) return {};
  return fmt::format("a container's seccomp profile forbids it: {}", kOptions);
}

// What root of the new user namespace does there.
bool is_in_namespace(Step step) {
  return step != Step::kOpenFuse && step != Step::kCallersSyscall && step != Step::kCallersMemory &&
         step != Step::kCallersDescriptor;
}

}  // namespace

std::string remedy_for(int code, Step step, const MachineFacts& facts) {
  // AppArmor lets the namespace be made and then denies what root in it may do.
  const bool denied = code == EPERM || code == EACCES;
  if (denied && is_in_namespace(step) && facts.apparmor_restricts_userns.value_or(0) != 0) {
    return "AppArmor restricts user namespaces: as root, sysctl -w "
           "kernel.apparmor_restrict_unprivileged_userns=0, or "
           "give loopfs a profile with 'userns,'";
  }
  switch (step) {
    case Step::kUserNamespace:
      return remedy_for_namespace(code, facts);
    case Step::kOpenFuse:
      return remedy_for_fuse(code);
    case Step::kMountFuse:
      if (code == ENODEV) return remedy_for_fuse(code);
      return denied ? "a container's security profile forbids mount: start it with --security-opt "
                      "seccomp=unconfined --security-opt apparmor=unconfined"
                    : "";
    case Step::kMount:
      return denied ? "a security module or a container's seccomp profile forbids mount in user namespaces"
                    : "";
    case Step::kMountProc:
      return denied ? "parts of /proc are masked here, so the kernel allows no new one: start the container "
                      "with "
                      "--security-opt systempaths=unconfined (podman: --security-opt unmask=ALL)"
                    : "";
    case Step::kIdMaps:
      // verify_root_map() in kernel/user_namespace.c
      return denied && facts.root
                 ? "root needs CAP_SETFCAP for it: start the container with --cap-add SETFCAP"
                 : "";
    case Step::kRoot:
      return "a container's security profile forbids it: start the container with --security-opt "
             "seccomp=unconfined "
             "--security-opt apparmor=unconfined";
    case Step::kCallersSyscall:
      return remedy_for_caller(code, "the kernel needs CONFIG_HAVE_ARCH_TRACEHOOK", facts);
    case Step::kCallersMemory:
      return remedy_for_caller(code, "the kernel needs CONFIG_CROSS_MEMORY_ATTACH", facts);
    case Step::kCallersDescriptor:
      return remedy_for_caller(code, "it needs Linux 5.6 or newer", facts);
  }
  return {};
}

MachineFacts read_machine_facts() {
  return {read_number("/proc/sys/user/max_user_namespaces"),
          read_number("/proc/sys/kernel/unprivileged_userns_clone"),
          read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"), ::geteuid() == 0,
          read_number("/proc/sys/kernel/yama/ptrace_scope")};
}

Error with_remedy(const Error& error, Step step, const MachineFacts& facts) {
  const std::string remedy = remedy_for(error.code, step, facts);
  if (remedy.empty()) return error;
  return Error{error.code, fmt::format("{} ({})", error.what, remedy)};
}

}  // namespace loopfs::sandbox
