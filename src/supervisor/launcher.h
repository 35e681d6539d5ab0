// Starts the FUSE programs of mounted devices.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "mounter/config.h"
#include "mounter/mount_plan.h"
#include "supervisor/caller_request.h"
#include "supervisor/mount_tables.h"
#include "supervisor/wanted.h"

namespace loopfs::supervisor {

// Thread-safe.
class Launcher {
 public:
  explicit Launcher(MountTables& tables) : tables_(tables) {}

  // `executable` empty: the image is looked at all the same. `hold`: on the device; null: the program opens it by itself.
  // `record` is what the table of mounts gets.
  Answer start(const Target& target, const Wanted& wanted, const mounter::Program& program,
               const std::string& executable, const engine::MountHold* hold, Mount record);

 private:
  void caution(const mounter::Program& program, const mounter::MountPlan& plan, const std::string& source);
  bool is_new(const std::string& text);

  MountTables& tables_;
  std::mutex mutex_;            // guards told_
  std::set<std::string> told_;  // what the user has been told already
};

}  // namespace loopfs::supervisor
