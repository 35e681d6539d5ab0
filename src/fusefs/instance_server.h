// The FUSE file system of one instance: loop-control, loopN, loopNpM. What is common to its two kinds.
#pragma once

#include <functional>
#include <memory>

#include "engine/engine.h"
#include "fusefs/entries.h"
#include "fusefs/remote_caller.h"

namespace loopfs::fusefs {

// Translates requests into calls of the engine. Which of a node's two inodes a path walk gets is decided anew
// at each lookup (caller_syscall.h). Requests are served on threads of their session, which share no state here.
// There are a SandboxServer, of `loopfs run`, and a SharedServer, of the daemon. Both are made of the operations that
// operations.h has for them and of their own; fuse_req_userdata() is this base of theirs.
class InstanceServer {
 public:
  struct Place {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    int user_namespace = -1;           // borrowed; the one that owns the instance
    dev_t device = 0;                  // st_dev of everything in the mount
    uid_t root_uid = 0;                // of the root directory
    gid_t root_gid = 0;
    // Who asks, by the number of the thread (0: it is out of sight); unset: a RemoteCaller.
    std::function<std::unique_ptr<engine::Caller>(pid_t tid)> caller = {};
    std::unique_ptr<Entries> entries = {};  // of a whole /dev; none: there is nothing but nodes
  };
  InstanceServer(const InstanceServer&) = delete;
  InstanceServer& operator=(const InstanceServer&) = delete;

  engine::Engine& engine() const { return *place_.engine; }
  std::unique_ptr<engine::Caller> caller(pid_t tid) const {
    if (place_.caller) return place_.caller(tid);
    return std::make_unique<RemoteCaller>(tid, place_.user_namespace, place_.device);
  }
  uid_t root_uid() const { return place_.root_uid; }
  gid_t root_gid() const { return place_.root_gid; }
  // Null: of an instance that is no /dev.
  Entries* entries() { return place_.entries.get(); }

 protected:
  explicit InstanceServer(Place place) : place_(std::move(place)) {}
  ~InstanceServer() = default;

 private:
  const Place place_;
};

}  // namespace loopfs::fusefs
