// The server's side of its porters.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include "porter/fork_server.h"
#include "porter/wire.h"

namespace loopfs::porter {

// A porter under way, charged to somebody.
using Permit = std::shared_ptr<void>;

// One porter for one piece of work. Its end lets go of all that the porter has, and waits for that for a moment: what
// follows may count on it, as umount(8) does.
class Errand;

// Gives out porters, and takes them back once they have rested: who let go of a stranger's file may hang in that, and is
// charged to that stranger until it is through, or killed. Thread-safe; nothing is waited for under its lock.
class Porters {
 public:
  explicit Porters(std::unique_ptr<ForkServer> forks) : forks_(std::move(forks)) {}

  // Errors: those of ForkServer::fork.
  Result<Errand> begin(Permit permit);
  // Returns at once, and is never who drops the last reference to what is open there, or is in a socket's queue. Where no
  // porter is to be had it stays open.
  void close(Fd fd);
  // Gives permits back whose porters are through.
  void sweep();
  // Those that still have something of a stranger's.
  size_t busy();

 private:
  friend class Errand;
  using Clock = std::chrono::steady_clock;
  struct Hand {
    ForkServer::Child child;
    Permit permit;
    bool holds = false;  // something of a stranger's
    bool killed = false;
    Clock::time_point resting_since, next_look;
  };
  void take_back(Hand hand);
  void sweep_locked();

  const std::unique_ptr<ForkServer> forks_;
  std::mutex mutex_;  // guards what follows
  std::list<Hand> idle_, resting_;
  Clock::time_point next_sweep_;  // there may be many who want one
};

class Errand {
 public:
  Errand(Porters* porters, Porters::Hand hand) : porters_(porters), hand_(std::move(hand)) {}
  Errand(Errand&& other) noexcept = default;
  Errand& operator=(Errand&&) = delete;
  ~Errand();

  struct Reply {
    Answer answer;
    Packet packet;
  };
  // For what a stranger's file system has to answer.
  static constexpr std::chrono::milliseconds kPatience{5000};
  // The porter is given up after `patience`; none: it is waited for. `hangup`: a socket, whose end is the end of
  // waiting; or -1. Errors: EIO it did not answer in time, or the caller has gone; those that it met.
  Result<Reply> ask(const Order& order, std::optional<std::chrono::milliseconds> patience,
                    std::span<const std::byte> bytes = {}, std::span<const int> fds = {}, int hangup = -1);

 private:
  Porters* porters_;
  std::optional<Porters::Hand> hand_;  // none: given up
};

}  // namespace loopfs::porter
