// For the tests: a server on a socket in a directory of its own, and raw connections to it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "varlink/client.h"
#include "varlink/server.h"

namespace loopfs::varlink {

inline constexpr int kDeadline = 5000;  // ms, for what is expected to happen

inline std::pair<Channel, Channel> channel_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {Channel(Fd(ends[0])), Channel(Fd(ends[1]))};
}

// A pipe: that its other end is closed can be seen.
inline std::pair<Fd, Fd> pipe_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

inline bool wait_for(int fd, short event) {
  pollfd entry{fd, event, 0};
  return ::poll(&entry, 1, kDeadline) > 0 && (entry.revents & event);
}

// Writes bytes as they are, with descriptors.
inline bool write_raw(int socket, std::string_view bytes, std::vector<int> fds = {}) {
  iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::copy(fds.begin(), fds.end(), reinterpret_cast<int*>(CMSG_DATA(rights)));
  }
  return ::sendmsg(socket, &header, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

// With the NUL.
inline std::string framed(std::string text) {
  text.push_back('\0');
  return text;
}

// What the service answers to a message: "closed" if it closes the connection.
inline std::string answer_to(int socket, const std::string& text, std::vector<int> fds = {}) {
  (void)write_raw(socket, framed(text), std::move(fds));
  Channel channel(Fd(::fcntl(socket, F_DUPFD_CLOEXEC, 0)));
  auto frame = channel.receive();
  return frame && *frame ? (*frame)->text : "closed";
}

class TestService {
 public:
  using Admit = std::function<Result<Admission>(const Peer&)>;
  explicit TestService(std::vector<Interface> interfaces, Admit admit = nullptr) {
    char directory[] = "/tmp/loopfs-varlink-XXXXXX";
    directory_ = ::mkdtemp(directory);
    path_ = directory_ + "/socket";
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket.get(), 16), 0);
    ::chmod(directory_.c_str(), 0755);
    ::chmod(path_.c_str(), 0777);
    Server::Options options;
    options.socket = std::move(socket);
    options.information = {"Vendor", "Product", "1", "https://example.org"};
    options.interfaces = std::move(interfaces);
    options.admit = std::move(admit);
    auto created = Server::create(std::move(options));
    EXPECT_TRUE(created);
    server_ = std::move(*created);
    EXPECT_TRUE(server_->start());
  }
  ~TestService() {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  TestService(const TestService&) = delete;
  TestService& operator=(const TestService&) = delete;

  const std::string& path() const { return path_; }
  Server& server() { return *server_; }

  Fd connect_raw() const {
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  Client connect() const { return Client(connect_raw()); }

 private:
  std::string directory_;
  std::string path_;
  std::unique_ptr<Server> server_;
};

// org.example.test.Echo answers with its parameters.
inline Interface echo_interface() {
  Interface interface {
    "org.example.test", "interface org.example.test\n", {}
  };
  interface.methods["Echo"] = [](Call& call) { (void)call.reply(call.parameters()); };
  return interface;
}

}  // namespace loopfs::varlink
