#include "kernel/open_watch.h"

#include <sys/prctl.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace loopfs::kernel {
namespace {

constexpr std::chrono::microseconds kFirstLook{30}, kShortPause{400}, kLongestPause{10'000};
constexpr std::chrono::seconds kShortTime{2};  // nearly all are past by then
// An open that has its answer needs microseconds of processor time.
constexpr uint64_t kFarPast = 1'000'000'000;  // ns
// Where io_uring's threads wait, having done what they were asked for.
constexpr std::string_view kWaitForWork[] = {"io_wq_worker", "io_sq_thread"};

}  // namespace

void OpenWatch::add(pid_t tid, const std::optional<sys::SystemCall>& call,
                    std::shared_ptr<Binding::Pass> pass) {
  Entry entry{.view = {.call = call, .run_time = sys::run_time_of(tid).value_or(0)},
              .pass = std::move(pass),
              .since = Clock::now(),
              .pause = kFirstLook,
              .next = Clock::now() + kFirstLook};
  std::shared_ptr<Binding::Pass> before;
  bool start = false;
  {
    const std::lock_guard lock(mutex_);
    entry.serial = ++serial_;
    Entry& place = entries_[tid];
    before = std::move(place.pass);
    place = std::move(entry);
    start = !std::exchange(running_, true);
    changed_.notify_all();
  }
  if (before) finish(std::move(before));
  if (start) watching_->run([self = shared_from_this()] { self->run(); });
}

void OpenWatch::passed(pid_t tid) {
  std::shared_ptr<Binding::Pass> pass;  // ends without the lock
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(tid);
  if (found == entries_.end()) return;
  pass = std::move(found->second.pass);
  entries_.erase(found);
}

void OpenWatch::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

void OpenWatch::finish(std::shared_ptr<Binding::Pass> pass) {
  // Closing may be the last close of the device, which writes out what is dirty.
  closing_->run([pass = std::move(pass)]() mutable { pass.reset(); });
}

bool OpenWatch::is_past(pid_t tid, View& view) {
  const auto now = sys::system_call_now(tid);
  if (!now) return now.error().code == ESRCH;
  if (*now && (*now)->of_io_uring()) {
    const auto channel = sys::wait_channel_of(tid);
    return channel && std::ranges::find(kWaitForWork, *channel) != std::end(kWaitForWork);
  }
  if (*now && view.call) return **now != *view.call;
  // It got no processor time to fall asleep in before we answered, and may still be in that call: this one or an
  // earlier one. Past both it is in another.
  if (*now) {
    view.call = **now;
    return false;
  }
  const auto run_time = sys::run_time_of(tid);
  return !run_time || *run_time > view.run_time + kFarPast;
}

void OpenWatch::look_at(pid_t tid, std::unique_lock<std::mutex>& lock) {
  const uint64_t serial = entries_[tid].serial;
  View view = entries_[tid].view;
  lock.unlock();
  const bool past = is_past(tid, view);
  std::shared_ptr<Binding::Pass> pass;
  lock.lock();
  const auto found = entries_.find(tid);
  if (found == entries_.end() || found->second.serial != serial) return;
  Entry& entry = found->second;
  entry.view = view;
  if (!past) {
    const auto now = Clock::now();
    entry.pause = std::min(entry.pause * 2, now - entry.since < kShortTime ? kShortPause : kLongestPause);
    entry.next = now + entry.pause;
    return;
  }
  pass = std::move(entry.pass);
  entries_.erase(found);
  lock.unlock();
  finish(std::move(pass));
  lock.lock();
}

void OpenWatch::run() {
  ::prctl(PR_SET_TIMERSLACK, 1);
  std::unique_lock lock(mutex_);
  while (!stopping_ && !entries_.empty()) {
    const auto soonest =
        std::ranges::min_element(entries_, {}, [](const auto& entry) { return entry.second.next; });
    if (soonest->second.next > Clock::now()) {
      changed_.wait_until(lock, soonest->second.next);
    } else {
      look_at(soonest->first, lock);
    }
  }
  running_ = false;
  ::prctl(PR_SET_TIMERSLACK, 0);  // the thread goes on to do other things
}

}  // namespace loopfs::kernel
