#include "varlink/call.h"

#include <poll.h>

#include <utility>

namespace loopfs::varlink {
namespace {

// Reads a flag, false if absent or null.
Result<void> read_flag(const Json& message, const char* key, bool& flag) {
  const auto found = message.find(key);
  if (found == message.end() || found->is_null()) return {};
  if (!found->is_boolean()) return fail(EBADMSG, "call: '{}' is no boolean", key);
  flag = found->get<bool>();
  return {};
}

}  // namespace

Result<Request> parse_request(Frame frame) {
  auto message = parse_object(frame.text);
  if (!message) return propagate(message, "call");
  Request request;
  const auto method = message->find("method");
  if (method == message->end() || !method->is_string()) return fail(EBADMSG, "call: no method");
  request.method = method->get<std::string>();
  request.parameters = Json::object();
  const auto parameters = message->find("parameters");
  if (parameters != message->end() && !parameters->is_null()) {
    if (!parameters->is_object()) return fail(EBADMSG, "call: parameters are no object");
    request.parameters = std::move(*parameters);
  }
  for (auto [key, flag] : {std::pair("more", &request.more), std::pair("oneway", &request.oneway),
                           std::pair("upgrade", &request.upgrade)}) {
    auto read = read_flag(*message, key, *flag);
    if (!read) return propagate(read);
  }
  if (request.oneway && (request.more || request.upgrade))
    return fail(EBADMSG, "call: oneway with an answer");
  request.fds = std::move(frame.fds);
  return request;
}

Call::Call(Channel& channel, const Peer& peer, const Caller* caller, Request request)
    : channel_(channel), peer_(peer), caller_(caller), request_(std::move(request)) {}

Result<void> Call::send(Json message, Json parameters, NotUtf8 policy, std::span<const int> fds) {
  if (answered_) return fail(EINVAL, "answer {} again", request_.method);
  if (parameters.is_null()) parameters = Json::object();
  if (!parameters.is_object()) return fail(EINVAL, "answer {} with no object", request_.method);
  if (request_.oneway) return {};
  message["parameters"] = std::move(parameters);
  auto text = serialize(message, policy);
  if (!text) return propagate(text, "answer {}", request_.method);
  auto sent = channel_.send(*text, fds);
  if (!sent) return propagate(sent, "answer {}", request_.method);
  return {};
}

Result<void> Call::reply(Json parameters, std::span<const int> fds) {
  auto sent = send(Json::object(), std::move(parameters), NotUtf8::kRefuse, fds);
  if (sent) answered_ = true;
  return sent;
}

Result<void> Call::reply_continues(Json parameters, std::span<const int> fds) {
  if (!request_.more) return fail(EINVAL, "answer {}, called without more, with parts", request_.method);
  return send({{"continues", true}}, std::move(parameters), NotUtf8::kRefuse, fds);
}

Result<void> Call::error(std::string name, Json parameters) {
  auto sent = send({{"error", std::move(name)}}, std::move(parameters), NotUtf8::kReplace, {});
  if (sent) answered_ = true;
  return sent;
}

Result<void> Call::invalid_parameter(std::string_view parameter) {
  return error(kInvalidParameter, {{"parameter", parameter}});
}

bool Call::peer_gone() const {
  pollfd entry{channel_.fd(), 0, 0};
  return ::poll(&entry, 1, 0) > 0;  // POLLHUP, POLLERR or POLLNVAL
}

}  // namespace loopfs::varlink
