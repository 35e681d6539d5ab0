#include "keeper/keeper.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sys/message.h"
#include "sys/pidfd.h"

namespace loopfs::keeper {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kDeadline = 20000;  // ms

bool readable(int fd, int timeout = kDeadline) {
  pollfd watched{fd, POLLIN, 0};
  return ::poll(&watched, 1, timeout) == 1;
}

// A keeper in a process of its own, and the test server, which the test speaks to.
class KeeperTest : public testing::Test {
 protected:
  void TearDown() override {
    if (keeper_ > 0) {
      ::kill(keeper_, SIGKILL);
      ::waitpid(keeper_, nullptr, 0);
    }
  }

  void start(const std::string& mode = {}, Bounds bounds = {}, const std::string& program = KEEPER_SERVER) {
    auto ends = sys::socket_pair();
    ASSERT_TRUE(ends);
    test_ = std::move(ends->first);
    int reports[2];
    ASSERT_EQ(::pipe2(reports, O_CLOEXEC), 0);
    reports_.reset(reports[0]);
    keeper_ = ::fork();
    ASSERT_GE(keeper_, 0);
    if (keeper_ == 0) {
      const rlimit limit{most_fds_, most_fds_};
      if (most_fds_ > 0) ::setrlimit(RLIMIT_NOFILE, &limit);
      Options options;
      options.server_command = {program, "{fd}", mode};
      options.inherited.push_back(std::move(ends->second));
      options.bounds = bounds;
      options.pid_file = pid_file_;
      options.report = [&](const std::string& line) {
        if (::write(reports[1], (line + "\n").c_str(), line.size() + 1) < 0) ::_exit(99);
      };
      ::_exit(run(std::move(options)));
    }
    ::close(reports[1]);
  }

  std::string next_text() {
    if (!readable(test_.get())) return "timeout";
    auto message = sys::receive_message(test_.get());
    if (!message || !*message) return "closed";
    fds_ = std::move((*message)->fds);
    return {reinterpret_cast<const char*>((*message)->bytes.data()), (*message)->bytes.size()};
  }

  void say(const std::string& text, std::span<const int> fds = {}) {
    ASSERT_TRUE(sys::send_message(test_.get(), std::as_bytes(std::span(text)), fds));
  }

  std::string ask(const std::string& text, std::span<const int> fds = {}) {
    say(text, fds);
    return next_text();
  }

  // Waits for a new server and takes its pid.
  void hello() {
    const std::string text = next_text();
    ASSERT_THAT(text, StartsWith("hello "));
    server_ = std::stoi(text.substr(6));
    auto fd = sys::pidfd_of_process(server_);
    if (fd) server_fd_ = std::move(*fd);  // else it has ended meanwhile
  }

  std::string next_report() {
    std::string line;
    char c;
    while (readable(reports_.get()) && ::read(reports_.get(), &c, 1) == 1 && c != '\n') line += c;
    return line;
  }

  int wait_for_keeper() {
    auto fd = sys::pidfd_of_process(keeper_);
    if (!fd || !readable(fd->get())) return -1;
    int status;
    ::waitpid(std::exchange(keeper_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  pid_t keeper_ = 0;
  pid_t server_ = 0;
  Fd server_fd_;
  Fd test_;     // our end of the server's "listen"
  Fd reports_;  // the keeper's reports
  std::vector<Fd> fds_;
  std::string pid_file_;
  rlim_t most_fds_ = 0;  // RLIMIT_NOFILE of the keeper; 0: as it is
};

TEST_F(KeeperTest, AKilledServerGetsEverythingBack) {
  start();
  hello();
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::write(pipe[1], "kept", 4), 4);
  EXPECT_EQ(ask("put one first", pipe), "ok");
  EXPECT_EQ(ask("put two second"), "ok");
  EXPECT_EQ(ask("put three third"), "ok");
  EXPECT_EQ(ask("set one changed"), "ok");
  EXPECT_EQ(ask("set none changed"), "ENOENT");
  EXPECT_EQ(ask("drop three"), "ok");
  ::close(pipe[0]);
  ::close(pipe[1]);
  const pid_t first = server_;
  ::kill(server_, SIGKILL);
  hello();
  EXPECT_NE(server_, first);
  EXPECT_EQ(next_report(), "the server was killed by SIGKILL: started again");
  EXPECT_EQ(ask("load"), "listen=#1;one=changed#2;two=second#0;");
  EXPECT_EQ(ask("get one"), "changed");
  ASSERT_EQ(fds_.size(), 2u);
  char text[8];
  ASSERT_EQ(::read(fds_[0].get(), text, sizeof text), 4);
  EXPECT_EQ(std::string(text, 4), "kept");
}

TEST_F(KeeperTest, DroppedDescriptorsAreClosed) {
  start();
  hello();
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  EXPECT_EQ(ask("put one first", std::span(pipe + 1, 1)), "ok");
  EXPECT_EQ(ask("put two first", std::span(pipe + 1, 1)), "ok");
  ::close(pipe[1]);
  EXPECT_FALSE(readable(pipe[0], 0));
  EXPECT_EQ(ask("put one second"), "ok");
  EXPECT_FALSE(readable(pipe[0], 0));
  EXPECT_EQ(ask("drop two"), "ok");
  EXPECT_TRUE(readable(pipe[0])) << "the end of the pipe";
  ::close(pipe[0]);
}

TEST_F(KeeperTest, LoadsThousandsOfItems) {
  start();
  hello();
  ASSERT_EQ(ask("many 5000"), "ok");
  ::kill(server_, SIGKILL);
  hello();  // says how many descriptors it was started with, too
  // Names of 9 bytes, payloads of 0 to 4999, "=", "#0;" and "listen=#1;".
  EXPECT_EQ(ask("load"), fmt::format("5001 items, {} bytes", 5000 * 13 + 4999 * 2500 + 10));
  EXPECT_EQ(ask("fds"), "6");
}

TEST_F(KeeperTest, WhatNobodyWaitedForIsKeptToo) {
  start();
  hello();
  say("soon 40");
  hello();
  const std::string kept = ask("load");
  EXPECT_THAT(kept, StartsWith("listen=#1;soon00001=asked#0;soon00002=last#0;soon00003=x#1;"));
  EXPECT_THAT(kept, EndsWith("soon00038=x#0;soon00039=x#1;"));
}

TEST_F(KeeperTest, APutIsAllOrNothing) {
  Bounds bounds;
  bounds.long_life = milliseconds(0);
  start({}, bounds);
  hello();
  EXPECT_EQ(ask("put a 0"), "ok");
  int expected = 0;
  for (int round = 0; round < 20; ++round) {
    // Killed anywhere between the request and the answer.
    int fds[] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
    say(fmt::format("put a {}", round), std::span(fds, static_cast<size_t>(round % 4 % 3)));
    if (round % 2 == 0) readable(test_.get(), 1);
    ::kill(server_, SIGKILL);
    std::string text = next_text();
    if (text == "ok") {
      expected = round;
      text = next_text();
    }
    while (!text.starts_with("hello ")) ASSERT_NE(text = next_text(), "timeout");
    server_ = std::stoi(text.substr(6));
    // The request may be the new server's, if the old one had not read it.
    std::string list = ask("load");
    if (list == "ok") expected = round, list = next_text();
    const auto state = [](int n) { return fmt::format("a={}#{};", n, n % 4 % 3); };
    if (list.starts_with(state(round))) expected = round;
    EXPECT_THAT(list, StartsWith(state(expected)));
  }
}

TEST_F(KeeperTest, StopsWithTheServer) {
  pid_file_ = (std::filesystem::temp_directory_path() / fmt::format("keeper_test.{}", ::getpid())).string();
  start();
  hello();
  std::ifstream file(pid_file_);
  pid_t pid = 0;
  file >> pid;
  EXPECT_EQ(pid, keeper_);
  ::kill(keeper_, SIGTERM);
  EXPECT_EQ(wait_for_keeper(), 0);
  EXPECT_FALSE(std::filesystem::exists(pid_file_));
  EXPECT_TRUE(readable(server_fd_.get()));
}

TEST_F(KeeperTest, TheSecondStopKills) {
  start("stubborn");
  hello();
  ::kill(keeper_, SIGTERM);
  ::kill(keeper_, SIGINT);
  EXPECT_EQ(next_report(), "told to stop again: the server is killed");
  EXPECT_EQ(wait_for_keeper(), 128 + SIGKILL);
}

TEST_F(KeeperTest, PatienceEnds) {
  Bounds bounds;
  bounds.patience = milliseconds(20);
  start("stubborn", bounds);
  hello();
  ::kill(keeper_, SIGHUP);
  EXPECT_EQ(next_report(), "the server is replaced");
  EXPECT_EQ(next_report(), "the server does not end: it is killed");
  hello();
  ::kill(keeper_, SIGTERM);
  EXPECT_EQ(wait_for_keeper(), 128 + SIGKILL);
}

TEST_F(KeeperTest, ReplacesWithoutAPause) {
  Bounds bounds;
  bounds.first_pause = milliseconds(2 * kDeadline);  // would fail the test
  bounds.longest_pause = bounds.first_pause;
  bounds.last_patience = milliseconds(0);  // the end of one is not taken for that of the next
  start({}, bounds);
  hello();
  EXPECT_EQ(ask("put a 1"), "ok");
  for (int i = 0; i < 5; ++i) {
    ::kill(keeper_, SIGHUP);
    hello();
    EXPECT_EQ(ask("load"), "a=1#0;listen=#1;");
  }
}

TEST_F(KeeperTest, PausesGrowWhenItKeepsDying) {
  Bounds bounds;
  bounds.first_pause = milliseconds(5);
  bounds.longest_pause = milliseconds(15);
  start("die", bounds);
  EXPECT_EQ(next_report(), "the server exited with status 3: started again");
  EXPECT_EQ(next_report(), "the server exited with status 3: started again in 5 ms");
  EXPECT_EQ(next_report(), "the server exited with status 3: started again in 10 ms");
  EXPECT_EQ(next_report(), "the server exited with status 3: started again in 15 ms");
  EXPECT_EQ(next_report(), "the server exited with status 3: started again in 15 ms");
  ::kill(keeper_, SIGTERM);
  EXPECT_THAT(wait_for_keeper(), testing::AnyOf(0, 3, 128 + SIGTERM));
}

TEST_F(KeeperTest, AStatusOfZeroUnaskedIsNoEnd) {
  Bounds bounds;
  bounds.first_pause = milliseconds(2 * kDeadline);
  bounds.longest_pause = bounds.first_pause;
  start({}, bounds);
  hello();
  say("exit 0");
  EXPECT_EQ(next_report(), "the server exited with status 0: started again");
  hello();
  // Between two servers, it ends at once; and SIGHUP ends a pause.
  say("exit 75");
  EXPECT_THAT(next_report(), HasSubstr("in 40000 ms"));
  ::kill(keeper_, SIGHUP);
  hello();
  say("exit 1");
  EXPECT_THAT(next_report(), HasSubstr("in 40000 ms"));
  ::kill(keeper_, SIGTERM);
  EXPECT_EQ(wait_for_keeper(), 0);
}

TEST_F(KeeperTest, TheServerDiesWithTheKeeper) {
  start();
  hello();
  ::kill(keeper_, SIGKILL);
  EXPECT_TRUE(readable(server_fd_.get()));
  EXPECT_EQ(wait_for_keeper(), -SIGKILL);
}

TEST_F(KeeperTest, SignalsThatMeanNothingDoNothing) {
  start();
  hello();
  for (const int signal : {SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGCHLD, SIGRTMIN}) ::kill(keeper_, signal);
  EXPECT_EQ(ask("put a 1"), "ok");
  ::kill(keeper_, SIGTERM);
  EXPECT_EQ(wait_for_keeper(), 0);
}

TEST_F(KeeperTest, BadMessagesGetAnErrno) {
  start();
  hello();
  EXPECT_EQ(ask("raw x"), "EPROTO");
  EXPECT_EQ(ask("raw"), "EPROTO");
  EXPECT_EQ(ask("raw " + std::string(65000, 'x')), "EPROTO");
  EXPECT_EQ(ask("put a " + std::string(40000, 'x')), "EMSGSIZE");
  EXPECT_EQ(ask("set listen " + std::string(30000, 'x')), "ok");
  EXPECT_EQ(ask("flood 200"), "ok");
  EXPECT_EQ(ask("put b 1"), "ok");
}

TEST_F(KeeperTest, KeepsNoMoreDescriptorsThanItMayHave) {
  most_fds_ = 120;
  start();
  hello();
  EXPECT_EQ(ask("many 1000"), "EMFILE");
  const std::string kept = ask("load");
  const int fds[] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};
  EXPECT_EQ(ask("put item00000 new", fds), "EMFILE");
  EXPECT_EQ(ask("load"), kept);
  EXPECT_EQ(ask("put without descriptors"), "ok");
  EXPECT_EQ(ask("drop item00000"), "ok");
  EXPECT_EQ(ask("put again new", std::span(fds, 1)), "ok");
  ::kill(server_, SIGKILL);
  hello();
  EXPECT_EQ(ask("put another new", std::span(fds, 1)), "EMFILE");
}

TEST_F(KeeperTest, AWrongCommandEndsIt) {
  start({}, {}, "/nonexistent/server");
  EXPECT_EQ(wait_for_keeper(), 127);
}

TEST_F(KeeperTest, TellsSystemd) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string name = fmt::format("@keeper_test.{}", ::getpid());
  name.copy(address.sun_path, name.size());
  address.sun_path[0] = '\0';
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  start();
  ::unsetenv("NOTIFY_SOCKET");
  const auto next = [&] {
    char text[200];
    const ssize_t size = readable(socket.get()) ? ::read(socket.get(), text, sizeof text) : 0;
    return std::string(text, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  };
  hello();
  EXPECT_EQ(ask("ready"), "ok");
  EXPECT_EQ(next(), fmt::format("READY=1\nMAINPID={}", keeper_));
  ::kill(keeper_, SIGHUP);
  EXPECT_THAT(next(), StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  hello();
  EXPECT_EQ(ask("ready"), "ok");
  EXPECT_THAT(next(), StartsWith("READY=1"));
  ::kill(keeper_, SIGTERM);
  EXPECT_EQ(next(), "STOPPING=1");
  EXPECT_EQ(wait_for_keeper(), 0);
}

TEST_F(KeeperTest, APutIsFast) {
  start();
  hello();
  for (const std::string fds : {"0", "1"}) {
    const std::string time = ask("time 2000 " + fds);
    RecordProperty("microseconds_with_fds_" + fds, time);
    EXPECT_LT(std::stoi(time), 2000);  // 20 on an idle machine
  }
}

}  // namespace
}  // namespace loopfs::keeper
