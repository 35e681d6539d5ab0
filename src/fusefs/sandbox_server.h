// The instance of one sandbox, in the process that runs it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "fusefs/instance_server.h"
#include "fusefs/invalidator.h"
#include "fusefs/threaded_session.h"

namespace loopfs::fusefs {

// Gives the descriptors of opened nodes other numbers, by which they can be told.
class DescriptorMover {
 public:
  virtual ~DescriptorMover() = default;
  // The thread is in a system call that opens a node, and waits for our answer. False: its descriptor stays.
  virtual bool move(pid_t tid) = 0;
  // Whether the thread closes a descriptor because it is being moved.
  virtual bool is_moving(pid_t tid) = 0;
};

// Its nodes lead to backing files, and never to devices of the kernel; the kernel caches their pages, and nothing else.
// Open files end with this process, which has threads of its own for them.
class SandboxServer final : public InstanceServer, public engine::Observer {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    std::vector<Fd> channels;          // /dev/fuse, mounted, and clones of it: one thread each
    int user_namespace = -1;           // borrowed; the one that owns the instance
    dev_t device = 0;                  // st_dev of everything in the mount
    DescriptorMover* mover = nullptr;  // borrowed; may be null
  };
  static Result<std::unique_ptr<SandboxServer>> create(Options options);
  ~SandboxServer() override { stop(); }

  void start();

  // Returns when no node is open any more, at the latest after `patience`. With the sandbox gone, what still
  // has one open is a FUSE program of an outer sandbox, which is writing out what it holds.
  void wait_until_closed(std::chrono::milliseconds patience);

  void stop();

  // Returns once the kernel has written back and dropped its pages of the node. Not on a server thread.
  void invalidate(engine::NodeId node);

  // On any thread. The pages are dropped soon after; answers to ioctls on the device wait for it.
  void contents_changed(engine::NodeId node) override;

  // For the operations.
  DescriptorMover* mover() const { return mover_; }
  Session& session() { return *session_; }
  Invalidator& invalidator() { return *invalidator_; }
  void count_open(int change);

 private:
  SandboxServer(Place place, DescriptorMover* mover) : InstanceServer(std::move(place)), mover_(mover) {}

  DescriptorMover* const mover_;
  std::atomic<int> open_files_ = 0;
  std::unique_ptr<ThreadedSession> session_;
  std::unique_ptr<Invalidator> invalidator_;
};

}  // namespace loopfs::fusefs
