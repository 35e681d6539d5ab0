#include "keeper/closer.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace loopfs::keeper {

struct Closer::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Fd> fds;  // guarded by mutex
  bool ended = false;   // guarded by mutex
};

Closer::Closer() : state_(std::make_shared<State>()) {
  std::thread([state = state_] { work(state); }).detach();
}

Closer::~Closer() {
  const std::lock_guard lock(state_->mutex);
  state_->ended = true;
  state_->changed.notify_one();
}

void Closer::close(std::vector<Fd> fds) {
  if (fds.empty()) return;
  const std::lock_guard lock(state_->mutex);
  for (Fd& fd : fds) state_->fds.push_back(std::move(fd));
  state_->changed.notify_one();
}

size_t Closer::backlog() const {
  const std::lock_guard lock(state_->mutex);
  return state_->fds.size();
}

void Closer::work(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  for (;;) {
    state->changed.wait(lock, [&] { return state->ended || !state->fds.empty(); });
    if (state->fds.empty()) return;
    Fd fd = std::move(state->fds.back());
    state->fds.pop_back();
    lock.unlock();
    fd.reset();
    lock.lock();
  }
}

}  // namespace loopfs::keeper
