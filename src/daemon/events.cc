#include "daemon/events.h"

#include <utility>

namespace loopfs::daemon {
namespace {

constexpr size_t kMostQueued = 1024;

}  // namespace

std::optional<Event> Events::Reader::next(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, patience, [this] { return !queue_.empty(); })) return std::nullopt;
  Event event = std::move(queue_.front());
  queue_.pop_front();
  return event;
}

std::shared_ptr<Events::Reader> Events::follow() {
  auto reader = std::make_shared<Reader>();
  const std::lock_guard lock(mutex_);
  readers_.push_back(reader);
  return reader;
}

void Events::emit(Event event) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  event.microseconds =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  const std::lock_guard lock(mutex_);
  for (auto place = readers_.begin(); place != readers_.end();) {
    const auto reader = place->lock();
    if (!reader) {
      place = readers_.erase(place);
      continue;
    }
    const std::lock_guard queue(reader->mutex_);
    if (reader->queue_.size() < kMostQueued) {
      event.lost = std::exchange(reader->lost_, 0);
      reader->queue_.push_back(event);
      reader->changed_.notify_one();
    } else {
      ++reader->lost_;
    }
    ++place;
  }
}

}  // namespace loopfs::daemon
