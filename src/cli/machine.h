// What `loopfs doctor` knows of the machine: plain facts, gathered in one go.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "sys/probe.h"

namespace loopfs::cli {

struct FuseProgramFact {
  std::string file_systems;  // "ext2, ext3, ext4"
  std::string program;       // "fuse2fs"
  std::string package;       // "fuse2fs"
  bool found = false;        // in PATH, or where the table says
};

struct MachineFacts {
  int fuse_open = 0;    // errno of opening /dev/fuse, or 0
  mode_t fuse_mode = 0; // permission bits, where there is a node
  bool fuse_in_kernel = true;

  std::optional<long> max_user_namespaces;        // user.max_user_namespaces
  std::optional<long> unprivileged_userns_clone;  // kernel.unprivileged_userns_clone (Debian's patch)
  std::optional<long> apparmor_restrict_userns;   // kernel.apparmor_restrict_unprivileged_userns (Ubuntu, 6.7+)
  bool apparmor = false;
  std::optional<long> ptrace_scope;  // kernel.yama.ptrace_scope

  sys::NamespaceProbe namespaces;
  sys::ForeignProcessProbe foreign;
  sys::NotifyProbe notify;

  bool is_root = false;
  std::string user;  // name, or the number where it has none
  bool newidmap = false;  // newuidmap and newgidmap are in PATH
  bool subuid = false;
  bool subgid = false;

  std::string config_error;  // of loopfs.toml; empty: none
  std::vector<FuseProgramFact> programs;
};

// `config`: the file to read in place of the user's and the system's, or empty. The caller must be single-threaded.
MachineFacts examine_machine(const std::string& config);

// Whether a file in the form of subuid(5) gives `user` (or `uid`) a range. For tests.
bool has_subordinate_range(const std::string& text, const std::string& user, uid_t uid);

}  // namespace loopfs::cli
