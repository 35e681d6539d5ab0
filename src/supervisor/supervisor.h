// Receives the trapped mount(2), umount2(2) and open_tree(2) of a sandbox, and has those performed that concern loop devices.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "mounter/agent.h"
#include "mounter/config.h"
#include "supervisor/caller_request.h"
#include "supervisor/device_mounts.h"
#include "supervisor/kernel_mounts.h"
#include "supervisor/launcher.h"
#include "supervisor/loop_ioctls.h"
#include "supervisor/mount_tables.h"
#include "supervisor/node_calls.h"
#include "supervisor/remounts.h"
#include "supervisor/target.h"
#include "supervisor/unmounts.h"

namespace loopfs::supervisor {

// One thread receives; each call that is ours gets a thread of its own, because it may have to wait for a
// hostile path, a slow FUSE program, or a long write-back, and nobody else is to wait for that. All else is
// handed back to the kernel at once. A call that is handed back is performed with the caller's own rights:
// nothing that was read of its arguments allows it anything.
class Supervisor {
 public:
  struct Options {
    Fd listener;
    MountPartners partners;
    KernelMounts::Maker kernel_mounts;    // mounts that the kernel makes for the sandbox
    std::unique_ptr<LoopIoctls> ioctls;   // if the filter traps them
    std::optional<NodeCalls> node_calls;  // likewise
  };
  static Result<std::unique_ptr<Supervisor>> create(Options options);
  ~Supervisor();

  void start();

  // The agent must have been stopped: it is what calls under way wait for. False: some are stuck in what is the sandbox's,
  // and the process has to end as it is.
  bool stop();

 private:
  explicit Supervisor(Options options);

  void receive();
  void dispatch(const sys::Notification& notification);
  void dispatch_mount(const sys::Notification& notification);
  template <typename Act>
  void in_thread(const sys::Notification& notification, Act act);

  Fd listener_;
  std::unique_ptr<LoopIoctls> ioctls_;
  std::optional<NodeCalls> node_calls_;
  std::set<std::string> virtual_types_;  // of this kernel
  MountTables tables_;
  Launcher launcher_;
  DeviceMounts device_mounts_;
  Remounts remounts_;
  Unmounts unmounts_;
  Fd wake_;
  std::thread receiver_;
  std::mutex mutex_;              // guards calls_
  std::condition_variable idle_;  // a call has ended
  unsigned calls_ = 0;            // threads under way
};

}  // namespace loopfs::supervisor
