// What `loopfs doctor` knows of the machine: plain facts, gathered in one go.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "sandbox/id_map.h"
#include "sandbox/remedy.h"
#include "sys/probe.h"

namespace loopfs::cli {

struct FuseProgramFact {
  std::string file_systems;  // "ext2, ext3, ext4"
  std::string program;       // "fuse2fs"
  std::string package;       // "fuse2fs"
  bool found = false;        // in PATH, or where the table says
};

struct MachineFacts {
  int fuse_open = 0;     // errno of opening /dev/fuse, or 0
  mode_t fuse_mode = 0;  // permission bits, where there is a node

  sandbox::MachineFacts sysctls;
  bool apparmor = false;
  std::optional<long> ptrace_scope;  // kernel.yama.ptrace_scope

  sys::NamespaceProbe namespaces;
  sys::ForeignProcessProbe foreign;
  sys::NotifyProbe notify;

  std::string user;  // name, or the number where it has none
  sandbox::IdFacts ids;

  std::string config_error;  // of loopfs.toml; empty: none
  std::vector<FuseProgramFact> programs;
};

// `config`: the file to read in place of the user's and the system's, or empty. The caller must be
// single-threaded.
MachineFacts examine_machine(const std::string& config);

}  // namespace loopfs::cli
