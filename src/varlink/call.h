// One call of a Varlink method, as its handler sees it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "varlink/channel.h"
#include "varlink/json.h"
#include "varlink/peer.h"

namespace loopfs::varlink {

// The errors of org.varlink.service.
inline constexpr char kInterfaceNotFound[] = "org.varlink.service.InterfaceNotFound";
inline constexpr char kMethodNotFound[] = "org.varlink.service.MethodNotFound";
inline constexpr char kMethodNotImplemented[] = "org.varlink.service.MethodNotImplemented";
inline constexpr char kInvalidParameter[] = "org.varlink.service.InvalidParameter";
inline constexpr char kExpectedMore[] = "org.varlink.service.ExpectedMore";

// Who calls, as the service itself knows those who connect: see Server::Options::admit.
struct Caller {
  Caller() = default;
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  virtual ~Caller() = default;
};

struct Request {
  std::string method;  // with its interface: "org.varlink.service.GetInfo"
  Json parameters;     // an object
  bool more = false;
  bool oneway = false;
  bool upgrade = false;
  std::vector<Fd> fds;
};

// Errors: EBADMSG it is no request; the connection is to be closed.
Result<Request> parse_request(Frame frame);

// Lives as long as its handler runs, on the thread of the connection, and is used by that thread only. What
// the caller sent is not trusted. A handler answers with any number of reply_continues(), if wants_more(),
// and then one reply() or error(); if it does not, the connection is closed.
class Call {
 public:
  Call(Channel& channel, const Peer& peer, const Caller* caller, Request request);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const std::string& method() const { return request_.method; }
  const Json& parameters() const { return request_.parameters; }
  bool wants_more() const { return request_.more; }
  bool oneway() const { return request_.oneway; }
  bool wants_upgrade() const { return request_.upgrade; }
  const Peer& peer() const { return peer_; }
  const Caller* caller() const { return caller_; }  // null if the service does not tell them apart

  // The descriptors sent along; those not taken are closed after the call.
  std::vector<Fd> take_fds() { return std::move(request_.fds); }

  // Each sends one message, or nothing if oneway(). `parameters` is an object, or null for an empty one;
  // `fds` are borrowed. Errors: EINVAL answered already, no object, or not wants_more(); EILSEQ a string is
  // not UTF-8 (error() replaces such bytes), EMSGSIZE: nothing was sent, another answer is possible; EPIPE,
  // ETIMEDOUT the caller is gone or does not read.
  Result<void> reply(Json parameters = nullptr, std::span<const int> fds = {});
  Result<void> reply_continues(Json parameters, std::span<const int> fds = {});
  Result<void> error(std::string name, Json parameters = nullptr);
  Result<void> invalid_parameter(std::string_view parameter);
  Result<void> expected_more() { return error(kExpectedMore); }

  // Whether the caller has closed the connection or the server is stopping. To wait for it, poll socket_fd()
  // with no events and expect POLLHUP: POLLIN would tell of pipelined calls only.
  bool peer_gone() const;
  int socket_fd() const { return channel_.fd(); }

  bool answered() const { return answered_ || request_.oneway; }

 private:
  Result<void> send(Json message, Json parameters, NotUtf8 policy, std::span<const int> fds);

  Channel& channel_;
  const Peer& peer_;
  const Caller* const caller_;
  Request request_;
  bool answered_ = false;
};

}  // namespace loopfs::varlink
