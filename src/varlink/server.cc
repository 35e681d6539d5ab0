#include "varlink/server.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace loopfs::varlink {
namespace {

constexpr int kRetryDelay = 100;  // ms, after an accept4() without descriptors or memory left

Result<int> socket_option(int socket, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket, SOL_SOCKET, option, &value, &size) != 0)
    return errno_fail("getsockopt {}", option);
  return value;
}

Result<void> check_listening(int socket) {
  for (auto [option, wanted] :
       {std::pair(SO_DOMAIN, AF_UNIX), std::pair(SO_TYPE, static_cast<int>(SOCK_STREAM)),
        std::pair(SO_ACCEPTCONN, 1)}) {
    auto value = socket_option(socket, option);
    if (!value) return propagate(value);
    if (*value != wanted) return fail(EINVAL, "not a listening Unix stream socket");
  }
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0) return errno_fail("fcntl O_NONBLOCK");
  return {};
}

void signal_event(int eventfd) {
  const uint64_t one = 1;
  (void)!::write(eventfd, &one, sizeof one);
}

void clear_event(int eventfd) {
  uint64_t count;
  (void)!::read(eventfd, &count, sizeof count);
}

// Never waits: the socket is new, and has room for this.
void turn_away(Channel& channel, const Error& reason) {
  const Json error = {{"error", kTurnedAway},
                      {"parameters", {{"errno", reason.code}, {"message", reason.what}}}};
  if (auto text = serialize(error, NotUtf8::kReplace))
    (void)channel.send(*text, {}, std::chrono::milliseconds(0));
}

}  // namespace

Result<std::unique_ptr<Server>> Server::create(Options options) {
  auto listening = check_listening(options.socket.get());
  if (!listening) return propagate(listening, "varlink server");
  auto dispatcher = Dispatcher::create(options.information, std::move(options.interfaces));
  if (!dispatcher) return propagate(dispatcher);
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return errno_fail("eventfd");
  return std::unique_ptr<Server>(new Server(std::move(options), std::move(*dispatcher), std::move(wake)));
}

Server::Server(Options options, Dispatcher dispatcher, Fd wake)
    : dispatcher_(std::move(dispatcher)),
      admit_(std::move(options.admit)),
      socket_(std::move(options.socket)),
      wake_(std::move(wake)) {}

Server::~Server() {
  stop();
}

Result<void> Server::start() {
  if (acceptor_.joinable() || stopping_) return fail(EALREADY, "start varlink server");
  try {
    acceptor_ = std::thread([this] { accept_all(); });
  } catch (const std::system_error& error) {
    return fail(error.code().value(), "start varlink server: thread");
  }
  return {};
}

void Server::stop() {
  stopping_ = true;
  signal_event(wake_.get());
  if (acceptor_.joinable()) acceptor_.join();
  socket_.reset();
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) {
      if (!connection.done) connection.channel.shut_down();
    }
  }
  // Nobody adds to the list or takes from it any more.
  for (Connection& connection : connections_) connection.thread.join();
  connections_.clear();
}

void Server::accept_all() {
  while (!stopping_) {
    pollfd entries[] = {{wake_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
    if (::poll(entries, 2, -1) < 0) continue;  // EINTR
    if (entries[0].revents) {
      clear_event(wake_.get());
      reap();
    }
    if (entries[1].revents && !stopping_) accept_one();
  }
}

void Server::accept_one() {
  Channel channel(Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  if (channel.fd() < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    // EMFILE and the like pass when connections end; the socket stays readable, so do not spin.
    spdlog::warn("varlink: {}", Error{errno, "accept4"}.message());
    pollfd wake{wake_.get(), POLLIN, 0};
    (void)::poll(&wake, 1, kRetryDelay);
    return;
  }
  auto peer = peer_of(channel.fd());
  if (!peer) {
    spdlog::debug("varlink: connection: {}", peer.error().message());
    return;
  }
  auto admission = admit_ ? admit_(*peer) : Admission{};
  if (!admission) {
    spdlog::debug("varlink: connection of user {}: {}", peer->uid, admission.error().message());
    return turn_away(channel, admission.error());
  }
  begin(std::move(channel), std::move(*peer), std::move(*admission));
}

void Server::begin(Channel channel, Peer peer, Admission admission) {
  const std::lock_guard lock(mutex_);
  Connection& connection =
      connections_.emplace_back(std::move(channel), std::move(peer), std::move(admission));
  try {
    connection.thread = std::thread([this, &connection] { serve(connection); });
  } catch (const std::system_error& error) {
    spdlog::warn("varlink: connection: thread: {}", error.what());
    connections_.pop_back();
  }
}

void Server::serve(Connection& connection) {
  answer_calls(connection);
  const std::lock_guard lock(mutex_);
  connection.channel.close();
  connection.admission.share.reset();
  connection.done = true;
  signal_event(wake_.get());
}

void Server::answer_calls(Connection& connection) {
  for (;;) {
    auto frame = connection.channel.receive();
    if (!frame) spdlog::debug("varlink: {}", frame.error().message());
    if (!frame || !*frame) return;
    auto request = parse_request(std::move(**frame));
    if (!request) {
      spdlog::debug("varlink: {}", request.error().message());
      return;
    }
    Call call(connection.channel, connection.peer, connection.admission.caller.get(), std::move(*request));
    if (!dispatcher_.dispatch(call)) {
      spdlog::debug("varlink: {}: no answer", call.method());
      return;
    }
  }
}

void Server::reap() {
  std::list<Connection> ended;
  {
    const std::lock_guard lock(mutex_);
    for (auto next = connections_.begin(); next != connections_.end();) {
      const auto connection = next++;
      if (connection->done) ended.splice(ended.end(), connections_, connection);
    }
  }
  for (Connection& connection : ended) connection.thread.join();
}

}  // namespace loopfs::varlink
