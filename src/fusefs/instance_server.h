// The FUSE file system of one instance: loop-control, loopN, loopNpM.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "fusefs/invalidator.h"
#include "fusefs/remote_caller.h"
#include "fusefs/session.h"

namespace loopfs::fusefs {

// Translates requests into calls of the engine. Which of a node's two inodes a path walk gets is decided anew
// at each lookup (caller_syscall.h); nothing but file pages is cached by the kernel. Requests are served on
// the session's threads, which share no state here.
class InstanceServer final : public engine::Observer {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    std::vector<Fd> channels;          // /dev/fuse, mounted, and clones of it: one thread each
    int user_namespace = -1;           // borrowed; the one that owns the instance
    dev_t device = 0;                  // st_dev of everything in the mount
  };
  static Result<std::unique_ptr<InstanceServer>> create(Options options);
  ~InstanceServer() override { stop(); }

  void start();

  // Returns when no node is open any more, at the latest after `patience`. With the sandbox gone, what still
  // has one open is a FUSE program of an outer sandbox, which is writing out what it holds.
  void wait_until_closed(std::chrono::milliseconds patience);

  void stop();

  // Returns once the kernel has written back and dropped its pages of the node. Not on a server thread.
  void invalidate(engine::NodeId node);

  // On any thread. The pages are dropped soon after; answers to ioctls on the device wait for it.
  void contents_changed(engine::NodeId node) override;

  engine::Engine& engine() { return *engine_; }
  RemoteCaller caller(pid_t tid) const { return {tid, user_namespace_, device_}; }
  Invalidator& invalidator() { return *invalidator_; }
  void count_open(int change);

 private:
  explicit InstanceServer(const Options& options)
      : engine_(options.engine), user_namespace_(options.user_namespace), device_(options.device) {}

  engine::Engine* engine_;
  int user_namespace_;
  dev_t device_;
  std::atomic<int> open_files_ = 0;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Invalidator> invalidator_;
};

}  // namespace loopfs::fusefs
