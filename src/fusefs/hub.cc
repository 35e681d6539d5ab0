#include "fusefs/hub.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace loopfs::fusefs {
namespace {

constexpr size_t kMostWaiting = 64;  // requests of one file system that are read before their turn
constexpr size_t kHeaders = 4096;    // more than the headers of any request

}  // namespace

struct Hub::Entry {
  int channel = -1;
  Client client;
  bool reading = true;
  bool gone = false;
};

Result<std::unique_ptr<Hub>> Hub::create() {
  Fd poll(::epoll_create1(EPOLL_CLOEXEC));
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!poll.valid() || !wake.valid()) return errno_fail("epoll");
  epoll_event event{.events = EPOLLIN, .data = {.fd = wake.get()}};
  if (::epoll_ctl(poll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return errno_fail("epoll_ctl");
  return std::unique_ptr<Hub>(new Hub(std::move(poll), std::move(wake)));
}

Hub::Hub(Fd poll, Fd wake)
    : poll_(std::move(poll)), wake_(std::move(wake)), buffer_(kMostWrite + kHeaders), thread_([this] { run(); }) {}

Hub::~Hub() {
  stop();
}

void Hub::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

Result<void> Hub::add(int channel, Client client) {
  const int flags = ::fcntl(channel, F_GETFL);
  if (flags < 0 || ::fcntl(channel, F_SETFL, flags | O_NONBLOCK) != 0) return errno_fail("fcntl of /dev/fuse");
  const std::lock_guard lock(mutex_);
  entries_[channel] = std::make_shared<Entry>(Entry{.channel = channel, .client = std::move(client)});
  epoll_event event{.events = EPOLLIN, .data = {.fd = channel}};
  if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, channel, &event) != 0) {
    entries_.erase(channel);
    return errno_fail("epoll_ctl of /dev/fuse");
  }
  return {};
}

void Hub::remove(int channel) {
  const std::lock_guard lock(mutex_);
  if (entries_.erase(channel) > 0) ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, channel, nullptr);
}

void Hub::set_reading(Entry& entry, bool reading) {
  if (entry.reading == reading) return;
  entry.reading = reading;
  // A mount that has gone is told in any case (EPOLLERR).
  epoll_event event{.events = reading ? uint32_t{EPOLLIN} : 0, .data = {.fd = entry.channel}};
  ::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, entry.channel, &event);
}

void Hub::read_one(const std::shared_ptr<Entry>& entry) {
  const ssize_t length = ::read(entry->channel, buffer_.data(), buffer_.size());
  if (length < 0) {
    if (errno != ENODEV && errno != EBADF) return;  // ENOENT: its caller was killed; EAGAIN, EINTR
    ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, entry->channel, nullptr);
    entries_.erase(entry->channel);
    entry->client.lane->run([entry] { entry->client.gone(); });
    return;
  }
  auto request = std::make_shared<std::vector<std::byte>>(buffer_.begin(), buffer_.begin() + length);
  entry->client.lane->run([this, entry, request] {
    entry->client.serve(*request);
    if (entry->reading || entry->client.lane->waiting() > kMostWaiting / 2) return;
    const std::lock_guard lock(mutex_);
    if (entries_.contains(entry->channel)) set_reading(*entry, true);
  });
  if (entry->client.lane->waiting() >= kMostWaiting) set_reading(*entry, false);
}

void Hub::run() {
  ::prctl(PR_SET_NAME, "loopfs-requests");
  std::array<epoll_event, 64> events;
  for (;;) {
    const int count = ::epoll_wait(poll_.get(), events.data(), events.size(), -1);
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    for (int i = 0; i < count; ++i) {
      const auto entry = entries_.find(events[static_cast<size_t>(i)].data.fd);
      if (entry != entries_.end()) read_one(std::shared_ptr(entry->second));
    }
  }
}

}  // namespace loopfs::fusefs
