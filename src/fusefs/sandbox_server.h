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

// Its nodes lead to backing files, and never to devices of the kernel; the kernel caches their pages, and nothing else.
// Open files end with this process, which has threads of its own for them.
class SandboxServer final : public InstanceServer, public engine::Observer {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    std::vector<Fd> channels;          // /dev/fuse, mounted, and clones of it: one thread each
    int user_namespace = -1;           // borrowed; the one that owns the instance
    dev_t device = 0;                  // st_dev of everything in the mount
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
  Session& session() { return *session_; }
  Invalidator& invalidator() { return *invalidator_; }
  void count_open(int change);

 private:
  explicit SandboxServer(Place place) : InstanceServer(std::move(place)) {}

  std::atomic<int> open_files_ = 0;
  std::unique_ptr<ThreadedSession> session_;
  std::unique_ptr<Invalidator> invalidator_;
};

}  // namespace loopfs::fusefs
