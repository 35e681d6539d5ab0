#include "fusefs/invalidator.h"

#include <algorithm>

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

bool Invalidator::post(Job& job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return false;  // nobody uses the mount any more
  queue_.push_back(std::move(job));
  changed_.notify_all();
  return true;
}

void Invalidator::drop(instance::NodeId node) {
  Job job{.node = node, .done = {}};
  (void)post(job);
}

void Invalidator::then(std::function<void()> done) {
  Job job{.node = {}, .done = std::move(done)};
  if (!post(job)) job.done();
}

bool Invalidator::pending(uint32_t device) {
  const auto concerns = [device](const std::optional<instance::NodeId>& node) {
    return node && node->kind != instance::NodeId::Kind::kControl && node->device == device;
  };
  const std::lock_guard lock(mutex_);
  return concerns(current_) ||
         std::ranges::any_of(queue_, [&](const Job& job) { return concerns(job.node); });
}

void Invalidator::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Job job = std::move(queue_.front());
    queue_.pop_front();
    current_ = job.node;
    lock.unlock();
    if (job.node) {
      // ENOENT: the kernel knows no such inode, and so has nothing of it.
      fuse_lowlevel_notify_inval_inode(session_->raw(), inode_number({*job.node, Flavour::kFile}), 0, 0);
    }
    if (job.done) job.done();
    lock.lock();
    current_.reset();
  }
}

}  // namespace loopfs::fusefs
