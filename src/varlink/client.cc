#include "varlink/client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <utility>

#include "varlink/call.h"

namespace loopfs::varlink {
namespace {

constexpr int64_t kMaxErrno = 4095;

int code_of(const std::string& name, const Json& parameters) {
  const auto number = parameters.find("errno");
  if (number != parameters.end() && number->is_number_integer()) {
    const auto code = number->get<int64_t>();
    if (code > 0 && code <= kMaxErrno) return static_cast<int>(code);
  }
  if (name == kInterfaceNotFound || name == kMethodNotFound || name == kMethodNotImplemented)
    return EOPNOTSUPP;
  if (name == kInvalidParameter || name == kExpectedMore) return EINVAL;
  return EPROTO;
}

Error error_of(const std::string& name, const Json& parameters) {
  const auto message = parameters.find("message");
  const bool has_message = message != parameters.end() && message->is_string();
  return Error{code_of(name, parameters), has_message ? message->get<std::string>() : name};
}

}  // namespace

Result<Client::Answer> Client::parse_answer(Frame frame) {
  auto message = parse_object(frame.text);
  if (!message) return propagate(message);
  Answer answer;
  answer.reply.fds = std::move(frame.fds);
  answer.reply.parameters = Json::object();
  const auto parameters = message->find("parameters");
  if (parameters != message->end() && !parameters->is_null()) {
    if (!parameters->is_object()) return fail(EPROTO, "parameters are no object");
    answer.reply.parameters = std::move(*parameters);
  }
  const auto error = message->find("error");
  if (error != message->end() && !error->is_null()) {
    if (!error->is_string()) return fail(EPROTO, "error without a name");
    answer.error = error_of(error->get<std::string>(), answer.reply.parameters);
  }
  const auto continues = message->find("continues");
  answer.continues = continues != message->end() && continues->is_boolean() && continues->get<bool>();
  return answer;
}

Result<Client> Client::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(ENAMETOOLONG, "connect '{}'", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno_fail("socket");
  int connected;
  do {
    connected = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (connected != 0 && errno == EINTR);
  if (connected != 0) return errno_fail("connect '{}'", path);
  return Client(std::move(socket));
}

Result<void> Client::send(std::string_view method, Json parameters, bool more) {
  if (parameters.is_null()) parameters = Json::object();
  if (!parameters.is_object()) return fail(EINVAL, "call {} with no object", method);
  if (channel_.fd() < 0) return fail(EPIPE, "call {}", method);
  Json message = {{"method", method}, {"parameters", std::move(parameters)}};
  if (more) message["more"] = true;
  auto text = serialize(message);
  if (!text) return propagate(text, "call {}", method);
  auto sent = channel_.send(*text);
  // A service that closes at once may have said why: receive() finds out.
  if (!sent && sent.error().code != EPIPE) return propagate(sent, "call {}", method);
  return {};
}

Result<Client::Answer> Client::receive(std::string_view method) {
  auto frame = channel_.receive();
  if (frame && !*frame) frame = fail(EPIPE, "closed by the service");
  Result<Answer> answer = frame ? parse_answer(std::move(**frame)) : Result<Answer>(propagate(frame));
  if (answer) return answer;
  channel_.close();
  return propagate(answer, "{}", method);
}

Result<Reply> Client::call(std::string_view method, Json parameters) {
  auto sent = send(method, std::move(parameters), false);
  if (!sent) return propagate(sent);
  auto answer = receive(method);
  if (!answer) return propagate(answer);
  if (answer->error) return tl::unexpected(std::move(*answer->error));
  if (answer->continues) {
    channel_.close();
    return fail(EPROTO, "{}: more than one answer", method);
  }
  return std::move(answer->reply);
}

Result<void> Client::call_more(std::string_view method, Json parameters,
                               const std::function<bool(Reply)>& on_reply) {
  auto sent = send(method, std::move(parameters), true);
  if (!sent) return propagate(sent);
  for (;;) {
    auto answer = receive(method);
    if (!answer) return propagate(answer);
    if (answer->error) return tl::unexpected(std::move(*answer->error));
    const bool wants_more = on_reply(std::move(answer->reply));
    if (!answer->continues) return {};
    if (wants_more) continue;
    channel_.close();  // the service sees that nobody reads on
    return {};
  }
}

}  // namespace loopfs::varlink
