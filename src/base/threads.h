// Threads for work that may block for as long as somebody hostile likes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace loopfs::base {

// Grows with the jobs that are under way, up to a bound; threads that have had nothing to do for some seconds
// end. Who may block goes through a Lane, which bounds how many threads one owner can take.
class Threads {
 public:
  explicit Threads(unsigned most);
  // Waits for the jobs that are under way, at most `patience`; false: some are stuck, and the process should
  // end without destroying what they use.
  bool stop(std::chrono::milliseconds patience);

  void run(std::function<void()> job);

 private:
  struct State;
  static void work(const std::shared_ptr<State>& state, std::function<void()> job);

  std::shared_ptr<State> state_;
};

// The jobs of one owner: at most `width` at a time, the others wait in order. Lives as long as its jobs do.
class Lane : public std::enable_shared_from_this<Lane> {
 public:
  static std::shared_ptr<Lane> create(Threads* threads, unsigned width) {
    return std::shared_ptr<Lane>(new Lane(threads, width));
  }

  void run(std::function<void()> job);
  // The job has its place, in the queue or among those under way, when this returns: drain() knows of it. Returns what
  // the caller then has to call, once, on any thread, which may have to do others of the lane, too; empty: it is queued.
  [[nodiscard]] std::function<void()> take(std::function<void()> job);
  size_t waiting() const;

  // Returns once nothing is queued, taken or under way; false after `patience`. Not from a job.
  bool drain(std::chrono::milliseconds patience);

 private:
  Lane(Threads* threads, unsigned width) : threads_(threads), width_(width) {}
  void work(std::function<void()> job);

  Threads* const threads_;
  const unsigned width_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  std::deque<std::function<void()>> queue_;
  unsigned running_ = 0;  // jobs under way, or taken and about to be
};

}  // namespace loopfs::base
