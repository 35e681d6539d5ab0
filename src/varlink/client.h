// The calling side of Varlink.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "varlink/channel.h"
#include "varlink/json.h"

namespace loopfs::varlink {

struct Reply {
  Json parameters;      // an object
  std::vector<Fd> fds;  // close-on-exec
};

// Owns one connection; one thread at a time. The service is not trusted with more than its answers: the same
// limits hold as in the server. There is no time-out for an answer.
//
// A Varlink error comes back as an Error: its code is the error's parameter "errno" if there, else EOPNOTSUPP
// if the service has no such interface or method, EINVAL for InvalidParameter and ExpectedMore, and EPROTO
// for any other; its text is the parameter "message" if there, else the error's name. Other errors: EPIPE or
// ECONNRESET the connection is closed, EPROTO or EBADMSG the answer is no Varlink; EILSEQ, EMSGSIZE and
// EINVAL as in Call::reply(), with nothing sent.
class Client {
 public:
  // Errors: those of connect(2); ENAMETOOLONG a path over 107 bytes.
  static Result<Client> connect(const std::string& path);

  // Over a connected Unix stream socket.
  explicit Client(Fd socket) : channel_(std::move(socket)) {}

  // `parameters` as in Call::reply(). No service takes descriptors; its answers may have some.
  Result<Reply> call(std::string_view method, Json parameters = nullptr);

  // Hands on every reply, the last one too, until `on_reply` returns false. If it does so before the last one
  // the connection is closed, and further calls fail with EPIPE.
  Result<void> call_more(std::string_view method, Json parameters,
                         const std::function<bool(Reply)>& on_reply);

  int socket_fd() const { return channel_.fd(); }

 private:
  struct Answer {
    Reply reply;
    bool continues = false;
    std::optional<Error> error;  // a Varlink error: the connection goes on
  };

  static Result<Answer> parse_answer(Frame frame);
  Result<void> send(std::string_view method, Json parameters, bool more);
  // The next answer of a call of `method`. After an error the connection is closed.
  Result<Answer> receive(std::string_view method);

  Channel channel_;
};

}  // namespace loopfs::varlink
