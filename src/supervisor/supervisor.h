// Receives the trapped mount(2) and umount2(2) of a sandbox and performs those that concern loop devices.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "mounter/agent.h"
#include "mounter/config.h"
#include "supervisor/loop_ioctls.h"
#include "supervisor/mounts.h"
#include "supervisor/node_stat.h"
#include "supervisor/served_mounts.h"
#include "supervisor/target.h"

namespace loopfs::supervisor {

// One thread receives; each call that is ours gets a thread of its own, because it may have to wait for a
// hostile path, a slow FUSE program, or a long write-back, and nobody else is to wait for that. All else is
// handed back to the kernel at once. A call that is handed back is performed with the caller's own rights:
// nothing that was read of its arguments allows it anything.
class Supervisor {
 public:
  struct Options {
    Fd listener;
    engine::Engine* engine = nullptr;  // borrowed
    mounter::Agent* agent = nullptr;   // borrowed
    mounter::ProgramTable programs;
    dev_t instance_device = 0;                       // st_dev of the instance's nodes
    std::function<void(engine::NodeId)> invalidate;  // drops what the kernel has cached of the node's device
    std::function<void(const std::string&)> report;  // one line to the user; on any thread
    // Mounts that the kernel makes for the sandbox; none: a FUSE program is to. Unset: always.
    std::function<Result<std::optional<Fd>>(engine::NodeId, const std::string& type, uint64_t flags,
                                            const std::string& data)>
        mount_by_kernel;
    std::unique_ptr<LoopIoctls> ioctls;  // if the filter traps them
    std::optional<NodeStat> node_stat;   // likewise
  };
  static Result<std::unique_ptr<Supervisor>> create(Options options);
  ~Supervisor();

  void start();

  // The agent must have been stopped: it is what calls under way wait for.
  void stop();

 private:
  explicit Supervisor(Options options);

  void receive();
  void dispatch(const sys::Notification& notification);
  template <typename Act>
  void in_thread(const sys::Notification& notification, Act act);

  // What to answer. None: the kernel is to perform the call.
  using Answer = std::optional<sys::CallResult>;
  Answer mount(const Target& target);
  Answer remount(const Target& target);
  Answer unmount(const Target& target);

  struct Wanted;
  class Turn;
  Answer mount_served(const Target& target, const Wanted& wanted);
  Answer mount_device(const Target& target, const Wanted& wanted);
  Answer attach(const Target& target, const Wanted& wanted, const Fd& mount);
  void caution(const mounter::Program& program, const std::string& source);
  Answer mount_again(const Target& target, const Wanted& wanted, const Mounts::Known& known);
  Answer remount_writable(const Target& target, const Wanted& wanted, const Mounts::Known& known);
  Answer start_program(const Target& target, const Wanted& wanted, const mounter::Program& program,
                       const std::string& executable, const engine::MountHold* hold, Mount record);
  // None: it is no device of any instance.
  std::optional<engine::NodeId> node_of(const mounter::Reply& found) const;
  Result<mounter::Agent::Answer> look(const Target& target, const std::vector<Fd>& places,
                                      const std::string& path, bool follow);

  Options options_;
  std::set<std::string> virtual_types_, device_types_;  // not every type is in one of them: modules
  Mounts mounts_;
  ServedMounts served_;
  Fd wake_;
  std::thread receiver_;
  std::mutex mutex_;                            // guards calls_, cautioned_, starting_
  std::condition_variable idle_;                // a call has ended
  unsigned calls_ = 0;                          // threads under way
  std::set<std::string> cautioned_;             // the programs whose caution the user has seen
  std::set<std::pair<dev_t, ino_t>> starting_;  // the nodes of devices that are being mounted
};

}  // namespace loopfs::supervisor
