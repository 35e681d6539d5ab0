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

// Of loopfsd, which `loopfs run` does without.
struct DaemonFacts {
  std::string socket;
  int connect = 0;       // errno of connecting, or 0
  int answer = 0;        // errno of asking, or 0
  std::string version;   // of its program
  int loop_control = 0;  // errno of stat of /dev/loop-control; ENODEV: it is another thing; or 0
  std::optional<bool> clears_at_last_close;
  int clears_error = 0;  // why that was not found out
};

struct MachineFacts {
  int fuse_open = 0;     // errno of opening /dev/fuse, or 0
  mode_t fuse_mode = 0;  // permission bits, where there is a node

  sandbox::MachineFacts sysctls;
  bool apparmor = false;

  sys::NamespaceProbe namespaces;
  sys::ForeignProcessProbe foreign;
  sys::NotifyProbe notify;

  std::string user;  // name, or the number where it has none
  sandbox::IdFacts ids;

  std::string config_error;  // of loopfs.toml; empty: none
  std::vector<FuseProgramFact> programs;
  DaemonFacts daemon;
};

// `config`: the file to read in place of the user's and the system's, or empty. `socket`:
// of loopfsd. The caller must be single-threaded.
MachineFacts examine_machine(const std::string& config, const std::string& socket);

}  // namespace loopfs::cli
