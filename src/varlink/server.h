// A Varlink service on a listening Unix stream socket.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "varlink/dispatcher.h"

namespace loopfs::varlink {

// The error to a connection over a bound, with "errno" EBUSY and a "message".
inline constexpr char kTooManyConnections[] = "io.loopfs.TooManyConnections";

// Owns the listening socket, the connections and their threads: one that accepts and one for each connection,
// which answers its calls one after the other. Callers of the public functions: one thread, none of its own.
class Server {
 public:
  struct Options {
    Fd socket;  // AF_UNIX, SOCK_STREAM, listening; becomes non-blocking, also for others that have it
    Information information;
    std::vector<Interface> interfaces;
    size_t max_connections = 64;
    size_t max_connections_per_uid = 16;  // by effective user at connect(2); uid 0 is exempt
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
    Connection(Channel channel_, Peer peer_) : channel(std::move(channel_)), peer(std::move(peer_)) {}
    Channel channel;     // used by `thread`; closed, and shut down by others, under mutex_
    Peer peer;           // constant
    std::thread thread;  // set and joined by the acceptor, or by stop() after it
    bool done = false;   // guarded by mutex_; the last thing `thread` does
  };

  Server(Options options, Dispatcher dispatcher, Fd wake);

  void accept_all();
  void accept_one();
  void admit(Channel channel, Peer peer);
  const char* bound_reached(uid_t uid) const;  // needs mutex_; what to tell the client, null if none is
  void serve(Connection& connection);
  void answer_calls(Connection& connection);
  void reap();

  const Dispatcher dispatcher_;
  const size_t max_connections_;
  const size_t max_connections_per_uid_;
  Fd socket_;  // of the acceptor, while that runs
  Fd wake_;    // eventfd: a connection is done, or stopping_
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;  // of the caller of start() and stop()
  std::mutex mutex_;
  std::list<Connection> connections_;  // guarded by mutex_
};

}  // namespace loopfs::varlink
