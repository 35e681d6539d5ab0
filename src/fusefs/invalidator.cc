#include "fusefs/invalidator.h"

#include "fusefs/node_table.h"

namespace loopfs::fusefs {

void Invalidator::start() {
  thread_ = std::thread([this] { run(); });
}

void Invalidator::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Invalidator::post(std::vector<instance::NodeId> nodes, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      queue_.push_back({std::move(nodes), std::move(done)});
      changed_.notify_all();
      return;
    }
  }
  done();  // nobody uses the mount any more
}

void Invalidator::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    for (const auto& node : job.nodes) {
      // ENOENT: the kernel knows no such inode, and so has nothing of it.
      fuse_lowlevel_notify_inval_inode(session_->raw(), inode_number({node, Flavour::kFile}), 0, 0);
    }
    job.done();
    lock.lock();
  }
}

}  // namespace loopfs::fusefs
