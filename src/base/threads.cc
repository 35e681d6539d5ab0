#include "base/threads.h"

#include <system_error>
#include <thread>

namespace loopfs::base {
namespace {

constexpr std::chrono::seconds kIdleLife{5};

}  // namespace

struct Threads::State {
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;
  unsigned most = 0, threads = 0, idle = 0;
  bool stopping = false;
};

Threads::Threads(unsigned most) : state_(std::make_shared<State>()) {
  state_->most = most;
}

void Threads::run(std::function<void()> job) {
  {
    std::unique_lock lock(state_->mutex);
    if (state_->idle > state_->jobs.size() || state_->threads >= state_->most) {
      state_->jobs.push_back(std::move(job));
      lock.unlock();  // who is woken needs it
      state_->changed.notify_one();
      return;
    }
    ++state_->threads;
  }
  try {
    std::thread(work, state_, job).detach();
  } catch (const std::system_error&) {  // no more threads to be had: somebody who has one takes it on
    const std::lock_guard lock(state_->mutex);
    --state_->threads;
    state_->jobs.push_back(std::move(job));
    state_->changed.notify_one();
  }
}

void Threads::work(const std::shared_ptr<State>& state, std::function<void()> job) {
  for (;;) {
    job();
    job = nullptr;  // what it holds is given back before we wait
    std::unique_lock lock(state->mutex);
    ++state->idle;
    state->changed.wait_for(lock, kIdleLife, [&] { return state->stopping || !state->jobs.empty(); });
    --state->idle;
    if (state->jobs.empty()) {
      --state->threads;
      state->changed.notify_all();
      return;
    }
    job = std::move(state->jobs.front());
    state->jobs.pop_front();
  }
}

bool Threads::stop(std::chrono::milliseconds patience) {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  return state_->changed.wait_for(lock, patience, [this] { return state_->threads == 0; });
}

void Lane::run(std::function<void()> job) {
  if (auto taken = take(std::move(job))) threads_->run(std::move(taken));
}

std::function<void()> Lane::take(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (running_ == width_) {
      queue_.push_back(std::move(job));
      return {};
    }
    ++running_;
  }
  return [self = shared_from_this(), job = std::move(job)]() mutable { self->work(std::move(job)); };
}

void Lane::work(std::function<void()> job) {
  for (;;) {
    job();
    job = nullptr;
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) {
      --running_;
      idle_.notify_all();
      return;
    }
    job = std::move(queue_.front());
    queue_.pop_front();
  }
}

size_t Lane::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

bool Lane::drain(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, patience, [this] { return running_ == 0 && queue_.empty(); });
}

}  // namespace loopfs::base
