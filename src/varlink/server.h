// A Varlink service on a listening Unix stream socket.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "varlink/dispatcher.h"

namespace loopfs::varlink {

// The error to a connection that is turned away, with "errno" and a "message".
inline constexpr char kTurnedAway[] = "io.loopfs.TurnedAway";

// What goes with a connection.
struct Admission {
  std::shared_ptr<const Caller> caller;
  std::shared_ptr<void> share;  // of a bound on connections; given up after the connection's end
};

// Owns the listening socket, the connections and their threads: one that accepts and one for each connection,
// which answers its calls one after the other. Callers of the public functions: one thread, none of its own.
class Server {
 public:
  struct Options {
    Fd socket;  // AF_UNIX, SOCK_STREAM, listening; becomes non-blocking, also for others that have it
    Information information;
    std::vector<Interface> interfaces;
    // Who connects, and whether he may: asked once for each connection, before anything is read from it, on the
    // thread that accepts, so it must not wait for the peer. An error turns the peer away with it. None: all may.
    std::function<Result<Admission>(const Peer&)> admit;
  };

  // Errors: EINVAL not such a socket, an interface twice; ENOTSOCK.
  static Result<std::unique_ptr<Server>> create(Options options);

  ~Server();  // as stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Errors: EALREADY started or stopped before; EAGAIN no thread.
  Result<void> start();

  // Closes the listening socket, ends all connections (Call::peer_gone() in their handlers) and waits for the
  // handlers to return. Not to be called by a handler.
  void stop();

 private:
  struct Connection {
    Connection(Channel channel_, Peer peer_, Admission admission_)
        : channel(std::move(channel_)), peer(std::move(peer_)), admission(std::move(admission_)) {}
    Channel channel;  // used by `thread`; closed, and shut down by others, under mutex_
    const Peer peer;
    Admission admission;  // `thread` gives the share up when it has closed the channel
    std::thread thread;   // set and joined by the acceptor, or by stop() after it
    bool done = false;    // guarded by mutex_; the last thing `thread` does
  };

  Server(Options options, Dispatcher dispatcher, Fd wake);

  void accept_all();
  void accept_one();
  void begin(Channel channel, Peer peer, Admission admission);
  void serve(Connection& connection);
  void answer_calls(Connection& connection);
  void reap();

  const Dispatcher dispatcher_;
  const std::function<Result<Admission>(const Peer&)> admit_;
  Fd socket_;  // of the acceptor, while that runs
  Fd wake_;    // eventfd: a connection is done, or stopping_
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;  // of the caller of start() and stop()
  std::mutex mutex_;
  std::list<Connection> connections_;  // guarded by mutex_
};

}  // namespace loopfs::varlink
