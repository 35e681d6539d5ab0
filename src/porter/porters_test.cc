#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "porter/foreign.h"
#include "sys/control_message.h"

namespace loopfs::porter {
namespace {

using std::chrono::steady_clock;

constexpr int kDeadline = 5000;  // ms

std::pair<Fd, Fd> stream_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

std::pair<Fd, Fd> pipe_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

bool send_with(int socket, const char* text, int fd) {
  iovec vector{const_cast<char*>(text), std::strlen(text)};
  sys::ControlMessage<1> control;
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  control.attach(header, std::span(&fd, 1));
  return ::sendmsg(socket, &header, MSG_NOSIGNAL) >= 0;
}

bool ended(int reader) {
  pollfd entry{reader, 0, 0};
  return ::poll(&entry, 1, kDeadline) == 1 && (entry.revents & POLLHUP) != 0;
}

// A TCP socket whose last reference is dropped in `seconds`, or when `peer` is closed: it has sent what nobody reads.
struct Lingering {
  Fd socket, peer;
};
Lingering lingering_socket(int seconds) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  Lingering made{Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), Fd()};
  EXPECT_EQ(::connect(made.socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  made.peer.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const linger wait{1, seconds};
  EXPECT_EQ(::setsockopt(made.socket.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof wait), 0);
  const std::string much(65536, 'x');
  while (::send(made.socket.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
  return made;
}

// What a porter touches here is this process's own.
class PorterTest : public testing::Test {
 protected:
  PorterTest() : porters_(std::move(*ForkServer::start())) {}

  int error_of(int fd) {
    const auto file = ForeignFile::take(account_, ::gettid(), fd);
    return file ? 0 : file.error().code;
  }

  // As if what they touch did not answer.
  static void stop_porters() {
    for (const pid_t forks : children_of(::getpid())) {
      for (const pid_t porter : children_of(forks)) ::kill(porter, SIGSTOP);
    }
  }

  static std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> children;
    std::ifstream list(fmt::format("/proc/{0}/task/{0}/children", parent));
    for (pid_t child; list >> child;) children.push_back(child);
    return children;
  }

  bool all_rest() {
    const auto deadline = steady_clock::now() + std::chrono::milliseconds(kDeadline);
    while (porters_.busy() > 0 && steady_clock::now() < deadline) {
    }
    return porters_.busy() == 0;
  }

  Porters porters_;
  Account account_{.porters = &porters_};
};

TEST_F(PorterTest, ReadsAndWritesMemory) {
  uint64_t value = 0x1122334455667788;
  uint64_t read = 0;
  const auto at = reinterpret_cast<uint64_t>(&value);
  ASSERT_TRUE(read_memory(account_, ::gettid(), at, std::as_writable_bytes(std::span(&read, 1))));
  EXPECT_EQ(read, value);
  const uint64_t other = 7;
  ASSERT_TRUE(write_memory(account_, ::gettid(), at, std::as_bytes(std::span(&other, 1))));
  EXPECT_EQ(value, other);
  EXPECT_EQ(read_memory(account_, ::gettid(), 1, std::as_writable_bytes(std::span(&read, 1))).error().code,
            EFAULT);
  std::vector<std::byte> much(1 << 20);
  EXPECT_EQ(read_memory(account_, ::gettid(), at, much).error().code, EFAULT);
}

TEST_F(PorterTest, TellsWhatCanBeABackingFile) {
  const Fd memory(::memfd_create("backing", MFD_CLOEXEC));
  const auto file = ForeignFile::take(account_, ::gettid(), memory.get());
  ASSERT_TRUE(file) << file.error().message();
  struct stat status = {};
  ASSERT_EQ(::fstat(memory.get(), &status), 0);
  EXPECT_EQ(file->facts().device, status.st_dev);
  EXPECT_EQ(file->facts().inode, status.st_ino);
  const auto [reader, writer] = pipe_pair();
  const Fd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), path(::open("/", O_PATH | O_CLOEXEC));
  EXPECT_EQ(error_of(reader.get()), EINVAL);
  EXPECT_EQ(error_of(folder.get()), EINVAL);
  EXPECT_EQ(error_of(path.get()), EBADF);
  EXPECT_EQ(error_of(-1), EBADF);
  EXPECT_EQ(error_of(99999), EBADF);
}

TEST_F(PorterTest, DoesNotAskTheInstanceItself) {
  const Fd memory(::memfd_create("backing", MFD_CLOEXEC));
  struct stat status = {};
  ASSERT_EQ(::fstat(memory.get(), &status), 0);
  account_.instance = status.st_dev;
  EXPECT_EQ(error_of(memory.get()), EINVAL);
}

TEST_F(PorterTest, GivesBackWhatItWasChargedWhenItHasRested) {
  auto charge = std::make_shared<int>();
  account_.permit = [&]() -> Result<Permit> { return Permit(charge); };
  const Fd memory(::memfd_create("backing", MFD_CLOEXEC));
  {
    const auto file = ForeignFile::take(account_, ::gettid(), memory.get());
    ASSERT_TRUE(file);
    EXPECT_EQ(charge.use_count(), 2);
  }
  EXPECT_TRUE(all_rest());
  EXPECT_EQ(charge.use_count(), 1);
}

TEST_F(PorterTest, APorterThatDoesNotAnswerIsGivenUp) {
  auto errand = porters_.begin(nullptr);
  ASSERT_TRUE(errand && errand->ask({.act = Act::kKeep}, Errand::kPatience));
  stop_porters();
  EXPECT_EQ(errand->ask({.act = Act::kKeep}, std::chrono::milliseconds(20)).error().code, EIO);
  EXPECT_EQ(errand->ask({.act = Act::kKeep}, Errand::kPatience).error().code, EIO);
  EXPECT_TRUE(porters_.begin(nullptr)->ask({.act = Act::kKeep}, Errand::kPatience));
  EXPECT_TRUE(all_rest());
}

TEST_F(PorterTest, NobodyWaitsForACallerWhoHasHungUp) {
  auto errand = porters_.begin(nullptr);
  ASSERT_TRUE(errand && errand->ask({.act = Act::kKeep}, Errand::kPatience));
  stop_porters();
  auto [here, there] = stream_pair();
  there.reset();
  EXPECT_EQ(errand->ask({.act = Act::kKeep}, std::nullopt, {}, {}, here.get()).error().code, EIO);
}

TEST_F(PorterTest, ClosesWhatIsInASocket) {
  auto [here, there] = stream_pair();
  auto [reader, writer] = pipe_pair();
  ASSERT_TRUE(send_with(there.get(), "x", writer.get()));
  writer.reset();
  porters_.close(std::move(here));
  EXPECT_TRUE(ended(reader.get()));
}

TEST_F(PorterTest, WaitsInOurPlaceAndForOneNotLongerThanForAnother) {
  auto slow = lingering_socket(kDeadline / 1000);
  auto [here, there] = stream_pair();
  ASSERT_TRUE(send_with(there.get(), "x", slow.socket.get()));
  slow.socket.reset();
  auto [other, far] = stream_pair();
  auto [reader, writer] = pipe_pair();
  ASSERT_TRUE(send_with(far.get(), "x", writer.get()));
  writer.reset();
  const auto begin = steady_clock::now();
  porters_.close(std::move(here));
  porters_.close(std::move(other));
  EXPECT_TRUE(ended(reader.get()));
  EXPECT_LT(steady_clock::now() - begin, std::chrono::milliseconds(kDeadline / 2));
}

TEST(Words, AreTheSameAfterAJourney) {
  const std::vector<std::string> words{"ext4", "source", "/dev/loop7", "ro", ""};
  EXPECT_EQ(split_words(join_words(words)), words);
  EXPECT_TRUE(split_words({}).empty());
}

}  // namespace
}  // namespace loopfs::porter
