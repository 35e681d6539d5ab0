#include "kernel/open_watch.h"

#include <sys/prctl.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace loopfs::kernel {
namespace {

constexpr std::chrono::microseconds kFirstLook{30}, kShortPause{400}, kLongestPause{10'000};
constexpr std::chrono::seconds kShortTime{2};  // nearly all are past by then
// An open that has its answer needs microseconds of processor time.
constexpr uint64_t kFarPast = 1'000'000'000;  // ns
// Where io_uring's threads wait, having done what they were asked for.
constexpr std::string_view kWaitForWork[] = {"io_wq_worker", "io_sq_thread"};

}  // namespace

OpenWatch::OpenWatch() : thread_([this] { run(); }) {}

OpenWatch::~OpenWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void OpenWatch::add(pid_t tid, const std::optional<sys::SystemCall>& call,
                    std::shared_ptr<Binding::Pass> pass, std::shared_ptr<base::Lane> lane) {
  Entry entry{.call = call,
              .run_time = sys::run_time_of(tid).value_or(0),
              .pass = std::move(pass),
              .lane = std::move(lane),
              .since = Clock::now(),
              .pause = kFirstLook,
              .next = Clock::now() + kFirstLook};
  std::optional<Entry> before;
  {
    const std::lock_guard lock(mutex_);
    auto [place, fresh] = entries_.try_emplace(tid);
    if (!fresh) before = std::move(place->second);
    place->second = std::move(entry);
    changed_.notify_all();
  }
  if (before) finish(std::move(*before));
}

void OpenWatch::passed(pid_t tid) {
  std::optional<Entry> entry;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(tid);
  if (found == entries_.end()) return;
  entry = std::move(found->second);
  entries_.erase(found);
}

void OpenWatch::finish(Entry entry) {
  // Closing may be the last close of the device, which writes out what is dirty.
  entry.lane->run([pass = std::move(entry.pass)]() mutable { pass.reset(); });
}

bool OpenWatch::is_past(pid_t tid, Entry& entry) {
  const auto now = sys::system_call_now(tid);
  if (!now) return now.error().code == ESRCH;
  if (*now && (*now)->of_io_uring()) {
    const auto channel = sys::wait_channel_of(tid);
    return channel && std::ranges::find(kWaitForWork, *channel) != std::end(kWaitForWork);
  }
  if (*now && entry.call) return **now != *entry.call;
  // It got no processor time to fall asleep in before we answered, and may still be in that call: this one or an
  // earlier one. Past both it is in another.
  if (*now) {
    entry.call = **now;
    return false;
  }
  const auto run_time = sys::run_time_of(tid);
  return !run_time || *run_time > entry.run_time + kFarPast;
}

void OpenWatch::run() {
  ::prctl(PR_SET_NAME, "loopfs-opens");
  ::prctl(PR_SET_TIMERSLACK, 1);
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (entries_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto soonest = std::ranges::min_element(entries_, {}, [](const auto& entry) {
                           return entry.second.next;
                         })->second.next;
    changed_.wait_until(lock, soonest);
    const auto now = Clock::now();
    std::vector<Entry> past;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      Entry& watched = entry->second;
      if (watched.next > now) {
        ++entry;
      } else if (is_past(entry->first, watched)) {
        past.push_back(std::move(watched));
        entry = entries_.erase(entry);
      } else {
        watched.pause =
            std::min(watched.pause * 2, now - watched.since < kShortTime ? kShortPause : kLongestPause);
        watched.next = now + watched.pause;
        ++entry;
      }
    }
    lock.unlock();
    for (Entry& entry : past) finish(std::move(entry));
    lock.lock();
  }
}

}  // namespace loopfs::kernel
