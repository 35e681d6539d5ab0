#include "fusefs/hub.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

namespace loopfs::fusefs {
namespace {

constexpr size_t kMostWaiting = 16;  // requests of one file system that are read before their turn
constexpr size_t kHeaders = 4096;    // more than the headers of any request
constexpr unsigned kReaders = 2;     // so that mostly none has to be started

}  // namespace

struct Hub::State : std::enable_shared_from_this<Hub::State> {
  struct Entry {
    int channel = -1;
    Client client;
    bool reading = true;
  };
  using Job = std::function<void()>;

  void start_reader();
  void serve();
  Job read_one(const std::shared_ptr<Entry>& entry);
  void set_reading(Entry& entry, bool reading);

  base::Threads* threads = nullptr;
  Fd poll, wake;
  std::mutex mutex;  // guards what follows; held while a request is read
  std::condition_variable changed;
  std::map<int, std::shared_ptr<Entry>> entries;
  std::vector<std::byte> buffer = std::vector<std::byte>(kMostWrite + kHeaders);
  unsigned readers = 0;  // threads that are waiting for requests, or are about to
  bool stopping = false;
};

Result<std::unique_ptr<Hub>> Hub::create(base::Threads* threads) {
  auto state = std::make_shared<State>();
  state->threads = threads;
  state->poll = Fd(::epoll_create1(EPOLL_CLOEXEC));
  state->wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!state->poll.valid() || !state->wake.valid()) return errno_fail("epoll");
  epoll_event event{.events = EPOLLIN, .data = {.fd = state->wake.get()}};
  if (::epoll_ctl(state->poll.get(), EPOLL_CTL_ADD, state->wake.get(), &event) != 0)
    return errno_fail("epoll_ctl");
  state->readers = 1;
  state->start_reader();
  return std::unique_ptr<Hub>(new Hub(std::move(state)));
}

Hub::~Hub() {
  stop();
}

void Hub::stop() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  ::eventfd_write(state_->wake.get(), 1);
  state_->changed.wait(lock, [this] { return state_->readers == 0; });
}

Result<void> Hub::add(int channel, Client client) {
  const int flags = ::fcntl(channel, F_GETFL);
  if (flags < 0 || ::fcntl(channel, F_SETFL, flags | O_NONBLOCK) != 0)
    return errno_fail("fcntl of /dev/fuse");
  const std::lock_guard lock(state_->mutex);
  state_->entries[channel] =
      std::make_shared<State::Entry>(State::Entry{.channel = channel, .client = std::move(client)});
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.fd = channel}};
  if (::epoll_ctl(state_->poll.get(), EPOLL_CTL_ADD, channel, &event) != 0) {
    state_->entries.erase(channel);
    return errno_fail("epoll_ctl of /dev/fuse");
  }
  return {};
}

void Hub::remove(int channel) {
  const std::lock_guard lock(state_->mutex);
  if (state_->entries.erase(channel) > 0) ::epoll_ctl(state_->poll.get(), EPOLL_CTL_DEL, channel, nullptr);
}

// Also to be told again of a channel that it was told of, which EPOLLONESHOT does once.
void Hub::State::set_reading(Entry& entry, bool reading) {
  entry.reading = reading;
  // A mount that has gone is told in any case (EPOLLERR).
  epoll_event event{.events = (reading ? uint32_t{EPOLLIN} : 0) | EPOLLONESHOT,
                    .data = {.fd = entry.channel}};
  ::epoll_ctl(poll.get(), EPOLL_CTL_MOD, entry.channel, &event);
}

// What the request asks for; empty: there is none.
Hub::State::Job Hub::State::read_one(const std::shared_ptr<Entry>& entry) {
  const ssize_t length = ::read(entry->channel, buffer.data(), buffer.size());
  if (length < 0) {
    if (errno != ENODEV && errno != EBADF) {  // ENOENT: its caller was killed; EAGAIN, EINTR
      set_reading(*entry, entry->reading);
      return {};
    }
    ::epoll_ctl(poll.get(), EPOLL_CTL_DEL, entry->channel, nullptr);
    entries.erase(entry->channel);
    return [entry] { entry->client.gone(); };
  }
  set_reading(*entry, entry->client.lane->waiting() < kMostWaiting);
  auto request = std::make_shared<std::vector<std::byte>>(buffer.begin(), buffer.begin() + length);
  return [self = shared_from_this(), entry, request] {
    entry->client.serve(*request);
    const std::lock_guard lock(self->mutex);
    if (entry->reading || entry->client.lane->waiting() > kMostWaiting / 2) return;
    const auto found = self->entries.find(entry->channel);
    if (found != self->entries.end() && found->second == entry) self->set_reading(*entry, true);
  };
}

// The caller has counted it.
void Hub::State::start_reader() {
  threads->run([self = shared_from_this()] { self->serve(); });
}

void Hub::State::serve() {
  std::unique_lock lock(mutex);
  while (!stopping) {
    lock.unlock();
    epoll_event event{};
    const int count = ::epoll_wait(poll.get(), &event, 1, -1);
    lock.lock();
    const auto found = count > 0 ? entries.find(event.data.fd) : entries.end();
    if (stopping || found == entries.end()) continue;
    const std::shared_ptr<Entry> entry = found->second;
    Job job = read_one(entry);
    if (!job) continue;
    // Before the mutex is let go: somebody may read the end of the mount next, and drain the lane to end the instance.
    Job taken = entry->client.lane->take(std::move(job));
    if (!taken) continue;            // queued: we read on
    const bool last = readers == 1;  // who takes our place while the request blocks?
    if (!last) --readers;
    lock.unlock();
    if (last) start_reader();
    taken();
    taken = nullptr;  // what it holds is given back before we are counted as a reader
    lock.lock();
    if (readers >= kReaders) return;
    ++readers;
  }
  --readers;
  changed.notify_all();
}

}  // namespace loopfs::fusefs
