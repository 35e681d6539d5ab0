// Tells the kernel that what it cached of a node is stale.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

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

  // Drops the pages of the nodes' files, then calls `done` on the thread. Returns at once.
  void post(std::vector<instance::NodeId> nodes, std::function<void()> done);

 private:
  struct Job {
    std::vector<instance::NodeId> nodes;
    std::function<void()> done;
  };
  void run();

  Session* session_;  // borrowed
  std::mutex mutex_;  // guards the queue and stopping_
  std::condition_variable changed_;
  std::deque<Job> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace loopfs::fusefs
