#include "porter/porters.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "sys/pidfd.h"

namespace loopfs::porter {
namespace {

constexpr size_t kMostIdle = 8;
constexpr std::chrono::seconds kLongRest{5};
constexpr std::chrono::milliseconds kMoment{50}, kSeldom{250}, kSweepEvery{5};

// None: not yet.
std::optional<bool> has_rested(int socket) {
  char word = 0;
  const ssize_t got = ::recv(socket, &word, 1, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  return got == 1 && word == kRested;
}

}  // namespace

Result<Errand> Porters::begin(Permit permit) {
  {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) sweep_locked();
    if (!idle_.empty()) {
      Hand hand = std::move(idle_.back());
      idle_.pop_back();
      hand.permit = std::move(permit);
      return Errand(this, std::move(hand));
    }
  }
  auto child = forks_->fork();
  if (!child) return propagate(child, "make a process");
  return Errand(this, Hand{.child = std::move(*child), .permit = std::move(permit)});
}

void Porters::take_back(Hand hand) {
  hand.resting_since = Clock::now();
  if (!send(hand.child.socket.get(), Order{}, {}, {})) return;
  if (hand.holds && !hand.killed) {
    pollfd wait{hand.child.socket.get(), POLLIN, 0};
    (void)::poll(&wait, 1, kMoment.count());
  }
  const std::lock_guard lock(mutex_);
  resting_.push_back(std::move(hand));
}

void Porters::close(Fd fd) {
  if (!fd.valid()) return;
  auto errand = begin(nullptr);
  const int number = fd.get();
  if (!errand || !errand->ask({.act = Act::kKeep}, Errand::kPatience, {}, std::span(&number, 1)))
    (void)fd.release();
  fd.reset();  // the porter's is the last
}

void Porters::sweep() {
  const std::lock_guard lock(mutex_);
  if (Clock::now() < next_sweep_) return;
  next_sweep_ = Clock::now() + kSweepEvery;
  sweep_locked();
}

size_t Porters::busy() {
  const std::lock_guard lock(mutex_);
  sweep_locked();
  return resting_.size();
}

void Porters::sweep_locked() {
  for (auto next = resting_.begin(); next != resting_.end();) {
    const auto hand = next++;
    if (hand->killed && Clock::now() < hand->next_look) continue;  // there may be many, for long
    hand->next_look = Clock::now() + kSeldom;
    const auto rested = has_rested(hand->child.socket.get());
    if (rested) {
      hand->permit.reset();
      hand->holds = false;
      const bool keep = *rested && !hand->killed && idle_.size() < kMostIdle;
      if (keep) idle_.splice(idle_.end(), resting_, hand);
      if (!keep) resting_.erase(hand);  // it ends with its socket
    } else if (!hand->killed && Clock::now() - hand->resting_since > kLongRest) {
      // That may not end it, but then the end of whoever it waits for does.
      (void)sys::send_signal(hand->child.pidfd.get(), SIGKILL);
      hand->killed = true;
    }
  }
}

Errand::~Errand() {
  if (hand_ && hand_->child.socket.valid()) porters_->take_back(std::move(*hand_));
}

Result<Errand::Reply> Errand::ask(const Order& order, std::optional<std::chrono::milliseconds> patience,
                                  std::span<const std::byte> bytes, std::span<const int> fds, int hangup) {
  if (!hand_) return fail(EIO, "its file system does not answer");
  const int socket = hand_->child.socket.get();
  hand_->holds |= order.act != Act::kReadMemory && order.act != Act::kWriteMemory;
  if (auto sent = send(socket, order, bytes, fds); !sent) return propagate(sent, "ask a porter");
  pollfd waits[] = {{socket, POLLIN, 0}, {hangup, 0, 0}};
  const auto deadline = std::chrono::steady_clock::now() + patience.value_or(std::chrono::milliseconds(0));
  for (;;) {
    int left = -1;
    if (patience) {
      left = static_cast<int>(std::max<int64_t>(
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count(),
          0));
    }
    const int ready = ::poll(waits, hangup >= 0 ? 2 : 1, left);
    if (ready < 0 && errno == EINTR) continue;
    if (waits[0].revents != 0) break;
    // It is left to itself, and charged until it has ended.
    (void)sys::send_signal(hand_->child.pidfd.get(), SIGKILL);
    hand_->killed = true;
    porters_->take_back(std::move(*hand_));
    hand_.reset();
    return fail(EIO, "its file system does not answer");
  }
  Reply reply;
  auto packet = receive(socket, reply.answer);
  if (!packet) return propagate(packet, "a porter's answer");
  if (reply.answer.code != 0) {
    reply.answer.what[sizeof reply.answer.what - 1] = '\0';
    return fail(reply.answer.code, "{}", static_cast<const char*>(reply.answer.what));
  }
  reply.packet = std::move(*packet);
  return reply;
}

}  // namespace loopfs::porter
