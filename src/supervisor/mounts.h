// The FUSE file systems that a supervisor has mounted, and their ends.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "engine/engine.h"

namespace loopfs::supervisor {

struct Mount {
  dev_t device = 0;                         // st_dev of the file system
  std::optional<engine::NodeId> node;       // of our instance; none: of an inner sandbox's
  std::shared_ptr<engine::MountHold> hold;  // likewise; shared while a remount replaces one mount by another
  bool read_only = false;                   // the program cannot write
  bool superblock_read_only = false;        // nobody can, at this moment
  dev_t instance = 0;                       // st_dev and st_ino of the device's node
  ino_t inode = 0;
  std::string source, type, data, program;  // for messages, and for a remount
  Fd pidfd;                                 // of the FUSE program
  Fd channel;  // a duplicate of its /dev/fuse: tells whether the file system is still mounted anywhere
};

// Watches the programs on a thread of its own. When one has ended, its mount's hold on the device is dropped,
// and its channel closed: users of the mount, if there still are any, get ENOTCONN. Thread-safe.
class Mounts {
 public:
  struct Options {
    std::function<void(engine::NodeId)> invalidate;  // what the kernel has cached of the device's node
    std::function<void(const std::string&)> report;  // one line to the user
  };
  explicit Mounts(Options options);
  ~Mounts();

  void add(Mount mount);
  bool empty() const;

  struct Known {
    dev_t device = 0;
    bool read_only = false, superblock_read_only = false;
    dev_t instance = 0;
    ino_t inode = 0;
    std::string source, type, data;
    std::optional<engine::NodeId> node;
    std::shared_ptr<engine::MountHold> hold;
  };
  std::optional<Known> find(dev_t device) const;
  // By the device's node: its st_dev and st_ino.
  std::optional<Known> find(dev_t instance, ino_t inode) const;

  // After a remount.
  void set_superblock_read_only(dev_t device, bool read_only);

  // Whether the file system is at its end, because that was its last mount or its program has ended. Then
  // waits until the program has written everything and is gone. One that is mounted elsewhere too is not
  // waited for.
  enum class After {
    kWait,
    kLeave,
    kKill
  };  // what to do about a program that is not through in kPatience seconds
  static constexpr int kPatience = 5;
  bool wait_for_end(dev_t device, After after = After::kWait);

  // Returns when a file system has ended, or after a moment.
  void wait_for_change();

  // Ends the watch, without waiting for programs.
  void stop();

 private:
  void watch();
  void end(const std::shared_ptr<Mount>& mount);

  Options options_;
  mutable std::mutex mutex_;  // guards mounts_, stopping_
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Mount>> mounts_;
  bool stopping_ = false;
  Fd wake_;  // an eventfd: the set of mounts has changed
  std::thread thread_;
};

}  // namespace loopfs::supervisor
