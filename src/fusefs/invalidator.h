// Tells the kernel that what it cached of a node is stale.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "fusefs/session.h"
#include "instance/node.h"

namespace loopfs::fusefs {

// A thread of its own, because the kernel may have to write dirty pages back through our server threads
// before it can drop them: a server thread that waited for that could be the last one. The session's threads
// must run for as long as this one does.
class Invalidator {
 public:
  explicit Invalidator(Session* session) : session_(session) {}
  ~Invalidator() { stop(); }

  void start();
  void stop();  // does what is queued first

  // Drops the pages of the node's file. Returns at once.
  void drop(instance::NodeId node);

  // Calls `done` on the thread after all that is queued. Returns at once.
  void then(std::function<void()> done);

  // Whether pages of the device or of one of its partitions still have to be dropped.
  bool pending(uint32_t device);

 private:
  struct Job {
    std::optional<instance::NodeId> node;
    std::function<void()> done;
  };
  bool post(Job& job);
  void run();

  Session* session_;  // borrowed
  std::mutex mutex_;  // guards all but thread_
  std::condition_variable changed_;
  std::deque<Job> queue_;
  std::optional<instance::NodeId> current_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace loopfs::fusefs
