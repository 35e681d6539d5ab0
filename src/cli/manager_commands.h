// The commands that ask the daemon, loopfsd: `loopfs ls`, `inspect`, `events` and `limit`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace loopfs::cli {

inline constexpr const char* kManagerSocket = "/run/loopfs/io.loopfs.Manager";

struct ManagerOptions {
  std::string socket = kManagerSocket;  // --socket
  bool json = false;                    // --json
};

struct ListOptions : ManagerOptions {
  bool all = false;  // --all: devices without a file, too
};

struct InspectOptions : ManagerOptions {
  uint64_t instance = 0;
};

struct EventsOptions : ManagerOptions {};

struct LimitOptions : ManagerOptions {
  std::string kind = "devices";
  std::optional<uint32_t> uid;    // none: show, do not set
  std::optional<uint64_t> limit;  // none: the configured one
};

// Each prints its answer, or once the error, and returns the exit status: 0 or 1.
int list_instances(const ListOptions& options);
int inspect(const InspectOptions& options);
int follow_events(const EventsOptions& options);  // until the daemon ends, or nobody reads
int limit(const LimitOptions& options);

}  // namespace loopfs::cli
