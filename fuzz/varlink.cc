// A connection of somebody hostile to a Varlink service: the first byte says what descriptors come along, the rest are
// the bytes of the stream. They go through a real socket, for that is where descriptors and bytes come apart.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

#include "harness.h"
#include "sys/control_message.h"
#include "varlink/dispatcher.h"

namespace loopfs::fuzz {
namespace {

using varlink::Call;
using varlink::Channel;

constexpr size_t kLongest = 70000;  // bytes: above varlink::kMaxMessage, below what the socket takes at once

// Handlers that do with parameters and descriptors what those of io.loopfs.Manager do.
varlink::Interface interface() {
  varlink::Interface interface {
    "org.example.test", "interface org.example.test\n", {}
  };
  interface.methods["Echo"] = [](Call& call) { (void)call.reply(call.parameters()); };
  interface.methods["Error"] = [](Call& call) { (void)call.error("org.example.test.No", call.parameters()); };
  interface.methods["Count"] = [](Call& call) {
    if (!call.wants_more()) return void(call.expected_more());
    const auto to_which = call.parameters().find("to");
    if (to_which == call.parameters().end() || !to_which->is_number_unsigned())
      return void(call.invalid_parameter("to"));
    const auto to = to_which->get<uint64_t>();
    for (uint64_t i = 0; i < std::min<uint64_t>(to, 3); ++i) (void)call.reply_continues({{"n", i}});
    (void)call.reply();
  };
  interface.methods["Nothing"] = [](Call&) {};
  interface.methods["Throw"] = [](Call&) { throw std::runtime_error("x"); };
  interface.methods["None"] = {};
  return interface;
}

const varlink::Dispatcher& dispatcher() {
  static const auto made =
      varlink::Dispatcher::create({"Vendor", "Product", "1", "https://example.org"}, {interface()});
  FUZZ_CHECK(made);
  return *made;
}

void widen(int socket) {
  const int size = 1 << 20;
  ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

// Sends the stream in two parts, each with `fds` copies of `fd`. What the socket does not take is lost.
void send_stream(int socket, std::string_view stream, size_t fds, int fd) {
  const std::vector<int> copies(fds, fd);
  const size_t half = fds > 1 ? stream.size() / 2 : stream.size();
  for (const std::string_view part : {stream.substr(0, half), stream.substr(half)}) {
    if (part.empty()) continue;
    iovec vector{const_cast<char*>(part.data()), part.size()};
    sys::ControlMessage<16> control;
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    control.attach(header, copies);
    (void)::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

// Everything that was answered: whole messages, each an object.
size_t read_answers(int socket) {
  pollfd entry{socket, POLLIN, 0};
  Channel channel(Fd(::fcntl(socket, F_DUPFD_CLOEXEC, 0)));
  size_t answers = 0;
  while (::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN) != 0) {
    const auto frame = channel.receive();
    // The server closes without reading the rest.
    FUZZ_CHECK(frame || frame.error().code == ECONNRESET);
    if (!frame || !*frame) break;
    FUZZ_CHECK((*frame)->fds.size() <= varlink::kMaxFds);
    const auto answer = varlink::parse_object((*frame)->text);
    // A call may be nested as deep as is allowed; its echo is one deeper.
    FUZZ_CHECK(answer || (*frame)->text.find("[[[[[") != std::string::npos ||
               (*frame)->text.find(":{") != std::string::npos);
    ++answers;
  }
  return answers;
}

// As Server's connections do it.
void serve(Channel& channel, int client) {
  const varlink::Peer peer;
  for (;;) {
    auto frame = channel.receive();
    if (!frame || !*frame) return;
    FUZZ_CHECK((*frame)->text.size() <= varlink::kMaxMessage && (*frame)->fds.size() <= varlink::kMaxFds);
    auto request = varlink::parse_request((*frame)->text);
    if (!request) return;
    Call call(channel, peer, nullptr, std::move(*request));
    const bool answered = dispatcher().dispatch(call);
    const size_t answers = read_answers(client);
    FUZZ_CHECK(!call.oneway() || answers == 0);
    FUZZ_CHECK(call.oneway() || answered == (answers > 0) || call.wants_more());
    if (!answered) return;
  }
}

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace loopfs;
  fuzz::Input input(data, size);
  const size_t fds = input.below(12);
  const std::string_view stream = input.bytes(fuzz::kLongest);
  int ends[2], pipe[2];
  FUZZ_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 &&
             ::pipe2(pipe, O_CLOEXEC) == 0);
  const Fd client(ends[0]), left(pipe[0]);
  {
    Fd passed(pipe[1]);
    varlink::Channel channel{Fd(ends[1])};
    fuzz::widen(client.get());
    fuzz::widen(channel.fd());
    fuzz::send_stream(client.get(), stream, fds, passed.get());
    ::shutdown(client.get(), SHUT_WR);
    passed.reset();
    fuzz::serve(channel, client.get());
  }
  while (fuzz::read_answers(client.get()) > 0) {
  }
  // Each copy of the descriptor has been closed, whichever way the connection ended.
  pollfd entry{left.get(), POLLIN, 0};
  FUZZ_CHECK(::poll(&entry, 1, 0) == 1 && entry.revents == POLLHUP);
  return 0;
}
