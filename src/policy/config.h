// The daemon's part of loopfs.toml: where it listens, what each user may have, and what "mount" does for
// them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loopfs::policy {

inline constexpr const char* kConfigFile = "/etc/loopfs/loopfs.toml";

// [daemon]
struct DaemonOptions {
  std::string socket = "/run/loopfs/io.loopfs.Manager";  // an absolute path that fits into a socket address
  std::string log_level = "info";                        // as spdlog::level::from_str() reads it
  std::string metrics;                                   // an absolute path; empty: none
  uint64_t metrics_interval = 15;                        // seconds
};

// [limits]
struct DefaultLimits {
  uint64_t devices_per_user = 255;
  uint64_t instances_per_user = 64;
  uint64_t devices_per_instance = 4096;  // the most that max= may ask for
  uint64_t connections_per_user = 32;
  uint64_t requests_per_instance = 8;  // blocking requests under way
};

enum class MountPolicy {
  kFuse,    // by a FUSE program
  kKernel,  // the kernel's own, for the types in `filesystems`; by a FUSE program for others
  kDeny,
};

// What holds for one user.
struct Rules {
  bool allow = true;  // may have instances at all
  MountPolicy mount = MountPolicy::kFuse;
  std::vector<std::string> filesystems;  // what the kernel may mount, if `mount` is kKernel
  uint64_t devices = 0;
  uint64_t instances = 0;
};

// Immutable once made: any thread may ask.
class Config {
 public:
  // `file`: read in place of /etc/loopfs/loopfs.toml, which may be absent. Errors: those of open(2); mistakes
  // are one line "FILE:LINE: [table] key: ... is wanted, not ...", with the code EINVAL.
  static Result<Config> load(const std::string& file);
  static Result<Config> parse(std::string_view text, const std::string& name);

  const DaemonOptions& daemon() const { return daemon_; }
  const DefaultLimits& limits() const { return limits_; }

  // The first [[user]] that matches, over [mount] and [limits]. `uid`, `gids`: the user who owns the
  // container (the owner of its outermost user namespace below the first one; uid 0 for root's own), in the
  // first namespace's numbering; `gids` has the primary group too.
  Rules rules_for(uid_t uid, std::span<const gid_t> gids) const;

  // For the log, one line each: tables that nobody knows.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend class ConfigReader;

  // One [[user]]. With neither uid nor gid it matches everybody; what is not set is left to the defaults.
  struct UserRule {
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
    std::optional<bool> allow;
    std::optional<MountPolicy> mount;
    std::optional<std::vector<std::string>> filesystems;
    std::optional<uint64_t> devices;
    std::optional<uint64_t> instances;
  };

  DaemonOptions daemon_;
  DefaultLimits limits_;
  MountPolicy mount_ = MountPolicy::kFuse;
  std::vector<std::string> filesystems_ = {"ext2",     "ext3",  "ext4",  "xfs",
                                           "squashfs", "erofs", "btrfs", "vfat"};
  std::vector<UserRule> users_;
  std::vector<std::string> warnings_;
};

}  // namespace loopfs::policy
