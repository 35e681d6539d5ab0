// The FUSE file system of one instance: loop-control, loopN, loopNpM.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "fusefs/handle_table.h"
#include "fusefs/invalidator.h"
#include "fusefs/node_table.h"
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

  // Of a daemon: one of many, and one that another process may go on with.
  struct SharedOptions {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    Fd channel;                        // /dev/fuse, mounted
    int user_namespace = -1;           // borrowed
    dev_t device = 0;                  // st_dev of everything in the mount
    uid_t root_uid = 0;                // of the root directory
    gid_t root_gid = 0;
    Session::Shared session;
    std::function<std::unique_ptr<engine::Caller>(pid_t tid)> caller;
    uint64_t serials_from = 0;  // HandleTable's
  };
  static Result<std::unique_ptr<InstanceServer>> create_shared(SharedOptions options);
  ~InstanceServer() override { stop(); }

  Result<void> start();

  // Returns when no node is open any more, at the latest after `patience`. With the sandbox gone, what still
  // has one open is a FUSE program of an outer sandbox, which is writing out what it holds.
  void wait_until_closed(std::chrono::milliseconds patience);

  void stop();

  // Returns once the kernel has written back and dropped its pages of the node. Not on a server thread.
  void invalidate(engine::NodeId node);

  // On any thread. The pages are dropped soon after; answers to ioctls on the device wait for it.
  void contents_changed(engine::NodeId node) override;

  // The kernel is to ask for them again. On any thread.
  void forget_attributes(const Inode& inode);

  engine::Engine& engine() { return *engine_; }
  std::unique_ptr<engine::Caller> caller(pid_t tid) const {
    return caller_ ? caller_(tid) : std::make_unique<RemoteCaller>(tid, user_namespace_, device_);
  }
  Invalidator* invalidator() { return invalidator_.get(); }  // null: nothing is cached
  HandleTable* handles() { return handles_.get(); }          // null: handles go with this process
  void count_open(int change);
  uid_t root_uid() const { return root_uid_; }
  gid_t root_gid() const { return root_gid_; }

 private:
  InstanceServer(engine::Engine* engine, int user_namespace, dev_t device)
      : engine_(engine), user_namespace_(user_namespace), device_(device) {}

  engine::Engine* engine_;
  int user_namespace_;
  dev_t device_;
  uid_t root_uid_ = 0;
  gid_t root_gid_ = 0;
  std::atomic<int> open_files_ = 0;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Invalidator> invalidator_;
  std::unique_ptr<HandleTable> handles_;
  std::function<std::unique_ptr<engine::Caller>(pid_t tid)> caller_;  // of a shared one
};

}  // namespace loopfs::fusefs
