#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/printable.h"
#include "cli/reach.h"

namespace loopfs::cli {
namespace {

using State = Finding::State;

std::string text_of(int error) {
  return strerrordesc_np(error) ? strerrordesc_np(error) : "Unknown error";
}

// What the sandbox itself would say about a failed step.
std::string remedy_of(const MachineFacts& facts, int code, sandbox::Step step) {
  std::string remedy = sandbox::remedy_for(code, step, facts.sysctls);
  return remedy.empty() ? "none known for this error; outside of containers it should not happen" : remedy;
}

Finding judge_fuse_device(const MachineFacts& facts) {
  Finding finding{State::kOk, "/dev/fuse", fmt::format("mode {:04o}, can be opened", facts.fuse_mode), ""};
  if (facts.fuse_open == 0) return finding;
  finding.state = State::kMissing;
  finding.detail = text_of(facts.fuse_open);
  finding.remedy = remedy_of(facts, facts.fuse_open, sandbox::Step::kOpenFuse);
  if (facts.fuse_open != EACCES) return finding;
  finding.detail = fmt::format("mode {:04o}, cannot be opened for reading and writing", facts.fuse_mode);
  if ((facts.fuse_mode & 06) == 06) {
    finding.remedy =
        "not the mode, but a nodev mount or a security module denies it: give the container the device "
        "/dev/fuse";
  }
  return finding;
}

Finding judge_namespaces(const MachineFacts& facts) {
  Finding finding{State::kOk, "user namespaces", "can be made, with mounts inside", ""};
  const bool made = facts.namespaces.create == 0;
  const int error = made ? facts.namespaces.mount_api : facts.namespaces.create;
  if (error == 0 || (made && error == ENOSYS)) return finding;  // ENOSYS is the mount API's matter
  finding.state = State::kMissing;
  finding.detail = made ? "made, but without rights: " + text_of(error) : text_of(error);
  finding.remedy = remedy_of(facts, error, made ? sandbox::Step::kMount : sandbox::Step::kUserNamespace);
  return finding;
}

Finding judge_apparmor(const MachineFacts& facts) {
  const bool restricts = facts.apparmor && facts.sysctls.apparmor_restricts_userns.value_or(0) != 0;
  Finding finding{State::kOk, "AppArmor", facts.apparmor ? "on, does not restrict user namespaces" : "off",
                  ""};
  if (!restricts) return finding;
  finding.detail = "restricts user namespaces";
  if (facts.namespaces.create == 0 && facts.namespaces.mount_api == 0) {
    finding.detail += ", but not those of loopfs";
    return finding;
  }
  finding.state = State::kMissing;
  finding.remedy = "see user namespaces, and the profile in loopfs(1)";
  return finding;
}

Finding judge_mount_api(const MachineFacts& facts) {
  Finding finding{State::kOk, "mount API", "fsopen, fsmount, open_tree, mount_setattr, move_mount", ""};
  if (facts.namespaces.create != 0) return finding;
  constexpr const char* kProfile = "in a container: a seccomp profile that allows these calls";
  if (facts.namespaces.mount_api == ENOSYS) {
    finding.state = State::kMissing;
    finding.detail = "not in this kernel, or forbidden by a container's seccomp profile";
    finding.remedy = fmt::format("Linux 5.6 or newer; {}", kProfile);
  } else if (facts.namespaces.mount_api == 0 && facts.namespaces.attributes != 0) {
    finding.state = State::kLacking;
    finding.detail = "no mounts of devices: mount_setattr: " + text_of(facts.namespaces.attributes);
    finding.remedy = fmt::format("Linux 5.12 or newer; {}", kProfile);
  }
  return finding;
}

Finding judge_fuse_mount(const MachineFacts& facts) {
  Finding finding{State::kOk, "FUSE in a user namespace", "mounts, with more than one channel", ""};
  const int mount = facts.namespaces.mount_fuse;
  if (mount == 0 && facts.namespaces.clone_fuse == 0) return finding;
  finding.state = State::kMissing;
  finding.detail =
      mount != 0 ? "mount: " + text_of(mount) : "second channel: " + text_of(facts.namespaces.clone_fuse);
  if (facts.fuse_open != 0) {
    finding.remedy = "see /dev/fuse";
  } else if (facts.namespaces.create != 0) {
    finding.remedy = "see user namespaces";
  } else {
    finding.remedy = remedy_of(facts, mount, sandbox::Step::kMountFuse);
  }
  return finding;
}

Finding judge_proc_mount(const MachineFacts& facts) {
  Finding finding{State::kOk, "proc in a pid namespace", "can be mounted", ""};
  const int error = facts.namespaces.mount_proc;
  if (error == 0) return finding;
  finding.state = State::kMissing;
  finding.detail = text_of(error);
  finding.remedy = facts.namespaces.create != 0 ? "see user namespaces"
                                                : remedy_of(facts, error, sandbox::Step::kMountProc);
  return finding;
}

Finding judge_notify(const MachineFacts& facts) {
  Finding finding{State::kOk, "seccomp notification", "works", ""};
  if (facts.notify.listener == 0) {
    if (facts.notify.wait_killable != 0) finding.detail = "works, without WAIT_KILLABLE_RECV (Linux 5.19)";
    return finding;
  }
  finding.state = State::kLacking;
  if (facts.notify.listener == EBUSY) {
    finding.detail =
        "another supervisor has it: below `loopfs run` that one serves, below any other mount does not work";
    finding.remedy = "run loopfs outside of the container whose runtime supervises it";
    return finding;
  }
  finding.state = State::kMissing;
  finding.detail = text_of(facts.notify.listener);
  finding.remedy = "Linux 5.9 or newer with CONFIG_SECCOMP_FILTER; in a container: allow seccomp(2)";
  return finding;
}

Finding judge_reach(const MachineFacts& facts, const Reach& reach) {
  Finding finding{State::kOk, reach.call, "works on a process of a sandbox", ""};
  const int error = facts.foreign.*reach.error;
  if (error == 0) return finding;
  finding.state = State::kMissing;
  finding.detail = text_of(error);
  finding.remedy = remedy_of(facts, error, reach.step);
  if (facts.namespaces.create != 0) {
    finding.detail = "not tried";
    finding.remedy = "see user namespaces";
  }
  return finding;
}

Finding judge_root(const MachineFacts& facts) {
  const int pivot = facts.namespaces.pivot_root, cover = facts.namespaces.cover_root;
  Finding finding{State::kOk, "root of FUSE programs", "by pivot_root", ""};
  if (facts.namespaces.create != 0 || facts.namespaces.mount_api != 0 || pivot == 0) return finding;
  finding.detail = fmt::format("by chroot: pivot_root is refused ({})", text_of(pivot));
  if (cover == 0) return finding;
  finding.state = State::kLacking;
  finding.detail = fmt::format("no mounts of devices: pivot_root: {}; MS_MOVE and chroot: {}", text_of(pivot),
                               text_of(cover));
  finding.remedy = remedy_of(facts, cover, sandbox::Step::kRoot);
  return finding;
}

Finding judge_ids(const MachineFacts& facts) {
  using Method = sandbox::IdMapPlan::Method;
  const Method method = sandbox::plan_id_maps(facts.ids).front().method;
  Finding finding{State::kOk, "subordinate ids", "newuidmap and a range for " + facts.user, ""};
  if (method == Method::kDirect)
    finding.detail = "not needed: the sandbox has the ids of this user namespace";
  if (method != Method::kSingle) return finding;
  finding.state = State::kLacking;
  finding.detail = "the sandbox has one user id only: no chown to others there";
  std::vector<std::string> steps;
  if (!facts.ids.helpers_work) steps.emplace_back("apt-get install uidmap");
  if (facts.ids.subordinate_users.empty() || facts.ids.subordinate_groups.empty()) {
    steps.push_back(
        fmt::format("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}", facts.user));
  }
  finding.remedy = fmt::format("as root: {}", fmt::join(steps, "; "));
  return finding;
}

Finding judge_program(const FuseProgramFact& fact) {
  Finding finding{State::kOk, fact.program, "for " + fact.file_systems, ""};
  if (fact.found) return finding;
  finding.state = State::kLacking;
  finding.detail = fmt::format("not installed: no mounts of {}", fact.file_systems);
  finding.remedy = fact.package.empty() ? fmt::format("install {}", fact.program)
                                        : fmt::format("as root: apt-get install {}", fact.package);
  return finding;
}

// What loopfsd and the containers that it serves need; nothing of it is missing for `loopfs run`.
Finding judge_daemon(const DaemonFacts& facts) {
  if (facts.connect == ENOENT || facts.connect == ECONNREFUSED) {
    return {State::kAside, "loopfsd",
            "not running; `mount -t loopfs` and `loopfs run --engine kernel` need it", ""};
  }
  if (facts.connect != 0 || facts.answer != 0) {
    const bool timeout = facts.answer == EAGAIN;
    return {State::kAside, "loopfsd",
            fmt::format("'{}': {}", facts.socket,
                        timeout ? "no answer" : text_of(facts.connect != 0 ? facts.connect : facts.answer)),
            "see the log of loopfsd"};
  }
  return {State::kOk, "loopfsd", "answers, version " + base::to_printable(facts.version), ""};
}

Finding judge_loop_control(const DaemonFacts& facts) {
  if (facts.loop_control == 0) return {State::kOk, "/dev/loop-control", "the kernel's, for loopfsd", ""};
  const bool other = facts.loop_control == ENODEV;
  return {State::kAside, "/dev/loop-control",
          other ? "not the kernel's: an instance's" : text_of(facts.loop_control),
          other ? "" : "for loopfsd, as root of the machine: modprobe loop"};
}

Finding judge_last_close(const DaemonFacts& facts) {
  constexpr const char* kSubject = "clearing in use";
  if (!facts.clears_at_last_close) {
    if (facts.clears_error == EAGAIN) {
      return {State::kAside, kSubject, "cannot be told: somebody else has each new loop device open",
              "try again"};
    }
    return {State::kAside, kSubject,
            facts.clears_error != 0 ? "not tried: " + text_of(facts.clears_error)
                                    : "not tried: see /dev/loop-control",
            ""};
  }
  if (*facts.clears_at_last_close) {
    return {State::kOk, kSubject, "a device is unbound at its last close only", ""};
  }
  return {State::kAside, kSubject, "a device is unbound while it is open: loopfsd refuses this kernel",
          "for loopfsd: Linux 6.11 or newer"};
}

}  // namespace

std::vector<Finding> judge(const MachineFacts& facts) {
  std::vector<Finding> findings{
      judge_fuse_device(facts), judge_namespaces(facts), judge_apparmor(facts), judge_mount_api(facts),
      judge_fuse_mount(facts),  judge_proc_mount(facts), judge_notify(facts),
  };
  for (const Reach& reach : kReaches) findings.push_back(judge_reach(facts, reach));
  findings.push_back(judge_root(facts));
  findings.push_back(judge_ids(facts));
  if (!facts.config_error.empty()) {
    findings.push_back({State::kMissing, "loopfs.toml", facts.config_error, "mend the file, see loopfs(1)"});
  }
  for (const FuseProgramFact& program : facts.programs) findings.push_back(judge_program(program));
  findings.push_back(judge_daemon(facts.daemon));
  findings.push_back(judge_loop_control(facts.daemon));
  findings.push_back(judge_last_close(facts.daemon));
  return findings;
}

std::string report(const std::vector<Finding>& findings) {
  std::string text;
  int missing = 0;
  int lacking = 0;
  for (const Finding& finding : findings) {
    const char* label = "OK";
    if (finding.state == State::kMissing) label = "missing";
    if (finding.state == State::kLacking) label = "lacking";
    if (finding.state == State::kAside) label = "-";
    missing += finding.state == State::kMissing;
    lacking += finding.state == State::kLacking;
    text += fmt::format("{:<8} {:<26} {}\n", label, finding.subject, finding.detail);
    if (!finding.remedy.empty()) text += fmt::format("{:<8} remedy: {}\n", "", finding.remedy);
  }
  if (missing > 0) {
    text += "`loopfs run` cannot work here.\n";
  } else if (lacking > 0) {
    text += "`loopfs run` works here, without what is lacking.\n";
  } else {
    text += "`loopfs run` works here.\n";
  }
  return text;
}

int doctor(const DoctorOptions& options) {
  const std::vector<Finding> findings = judge(examine_machine(options.config, options.socket));
  fmt::print("{}", report(findings));
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.state == State::kMissing; })
             ? 1
             : 0;
}

}  // namespace loopfs::cli
