// FUSE requests, as bytes, to the server of an instance: `loopfs run`'s, or loopfsd's with its hub. A socket is in the
// place of /dev/fuse. The kernel is trusted, so what it sees to holds: bodies are as long as their opcode has them, names
// end, sizes are true, and the number of an open file is one that the server gave.
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdarg>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "dummies.h"
#include "engine/user_engine.h"
#include "fusefs/hub.h"
#include "fusefs/node_table.h"
#include "fusefs/sandbox_server.h"
#include "fusefs/shared_server.h"
#include "harness.h"

namespace loopfs::fuzz {
namespace {

using engine::NodeId;
using fusefs::SandboxServer;
using fusefs::SharedServer;

constexpr int kDeadline = 20000;       // ms, for an answer
constexpr size_t kLargest = 64 << 10;  // bytes of a READ, WRITE or READDIR
constexpr size_t kRoom = 256;          // bytes: no body's fixed part is longer
constexpr uint32_t kMostOpcode = FUSE_SYNCFS;

// What lives as long as the process.
struct World {
  // libfuse has a line for each session that ends as these do.
  World() {
    ::fuse_set_log_func([](fuse_log_level, const char*, va_list) {});
  }

  Files files;
  Dummies dummies{files};
  Fd user_namespace{::open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC)};
  base::Threads threads{16};
  std::unique_ptr<fusefs::Hub> hub = std::move(*fusefs::Hub::create(&threads));
};

World& world() {
  static World* const kWorld = new World;  // its threads run to the end: never destroyed
  return *kWorld;
}

// One mount: the server, and the kernel's end of the channel.
class Mount {
 public:
  explicit Mount(bool shared)
      : shared_(shared), engine_(engine::UserEngine::create({.max = 6, .initial_devices = 2})) {
    int ends[2];
    FUZZ_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    kernel_ = Fd(ends[0]);
    const int size = 1 << 20;
    ::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    shared ? create_shared(Fd(ends[1])) : create(Fd(ends[1]));
  }

  ~Mount() {
    // A read of 0 bytes ends the threads of a session of its own; a hub's channels never have that.
    if (!shared_) ::shutdown(kernel_.get(), SHUT_WR);
    stop_();
    if (lane_) FUZZ_CHECK(lane_->drain(std::chrono::milliseconds(kDeadline)));
    engine_->end();  // tells no observer any more
    server_.reset();
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  bool shared() const { return shared_; }
  int kernel() const { return kernel_.get(); }

 private:
  void create(Fd channel) {
    std::vector<Fd> channels;
    channels.push_back(std::move(channel));
    auto made = SandboxServer::create({.engine = engine_.get(),
                                       .channels = std::move(channels),
                                       .user_namespace = world().user_namespace.get()});
    FUZZ_CHECK(made);
    engine_->add_observer(made->get());
    (*made)->start();
    keep(std::move(*made));
  }

  void create_shared(Fd channel) {
    lane_ = base::Lane::create(&world().threads, 2);
    SharedServer::Options options;
    options.engine = engine_.get();
    options.channel = std::move(channel);
    options.user_namespace = world().user_namespace.get();
    options.session = {.hub = world().hub.get(),
                       .lane = lane_,
                       .on_begin = [](std::span<const std::byte>) {},
                       .on_gone = [] {}};
    auto made = SharedServer::create(std::move(options));
    FUZZ_CHECK(made);
    FUZZ_CHECK((*made)->start());
    keep(std::move(*made));
  }

  // Whichever kind it is.
  template <typename Server>
  void keep(std::unique_ptr<Server> server) {
    stop_ = [raw = server.get()] { raw->stop(); };
    server_ = std::shared_ptr<Server>(std::move(server));
  }

  const bool shared_;
  std::unique_ptr<engine::UserEngine> engine_;
  std::shared_ptr<base::Lane> lane_;
  std::function<void()> stop_;
  std::shared_ptr<void> server_;
  Fd kernel_;
};

template <typename T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

class Kernel {
 public:
  Kernel(Mount& mount, Input& input) : mount_(mount), input_(input) {}

  // False: the server has ended the session.
  bool begin() {
    fuse_init_in body{};
    body.major = FUSE_KERNEL_VERSION;
    body.minor = FUSE_KERNEL_MINOR_VERSION;
    body.max_readahead = 128 << 10;
    body.flags = input_.below(2) == 0 ? ~0U : input_.take<uint32_t>();
    return ask(FUSE_INIT, 0, bytes_of(body)).error == 0;
  }

  void step() {
    using Act = void (Kernel::*)();
    static constexpr Act kActs[] = {&Kernel::open,    &Kernel::ioctl, &Kernel::ioctl,  &Kernel::bind,
                                    &Kernel::io,      &Kernel::close, &Kernel::lookup, &Kernel::setattr,
                                    &Kernel::readdir, &Kernel::any};
    caller_ = caller();
    (this->*input_.one_of(kActs))();
  }

  void end() {
    while (!open_.empty()) release(open_.size() - 1);
    // libfuse keeps an interrupt for a request that may still come; each request that comes answers one of them.
    for (size_t i = 0; i <= interrupts_.size(); ++i)
      (void)ask(FUSE_GETATTR, FUSE_ROOT_ID, bytes_of(fuse_getattr_in{}));
  }

 private:
  struct Answer {
    int error = 0;
    std::string body;
  };

  pid_t caller() {
    const uint8_t byte = input_.byte();
    if (byte < 160) return world().dummies.pid(byte % 2);
    return byte < 240 ? 0 : 0x3ffffe;  // out of sight; gone
  }

  void send(uint32_t opcode, uint64_t node, std::string_view body) {
    std::string request(sizeof(fuse_in_header), '\0');
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + body.size());
    header.opcode = opcode;
    header.unique = unique_ += 2;
    header.nodeid = node;
    header.pid = static_cast<uint32_t>(caller_);
    request.replace(0, sizeof header, bytes_of(header));
    request += body;
    FUZZ_CHECK(::send(mount_.kernel(), request.data(), request.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(request.size()));
  }

  // The answer to the last request. What else there is are notifications, and answers to FUSE_INTERRUPT.
  Answer receive() {
    std::string bytes(kLargest + 4096, '\0');
    for (;;) {
      pollfd entry{mount_.kernel(), POLLIN, 0};
      int ready;
      do {
        ready = ::poll(&entry, 1, kDeadline);
      } while (ready < 0 && errno == EINTR);  // libFuzzer's own timer
      FUZZ_CHECK(ready == 1);
      const ssize_t got = ::recv(mount_.kernel(), bytes.data(), bytes.size(), 0);
      fuse_out_header header{};
      FUZZ_CHECK(got >= static_cast<ssize_t>(sizeof header));
      std::memcpy(&header, bytes.data(), sizeof header);
      FUZZ_CHECK(header.len == static_cast<size_t>(got));
      if (header.unique == 0) continue;
      FUZZ_CHECK(header.error <= 0 && header.error > -512);
      FUZZ_CHECK(header.unique <= unique_);
      if (!interrupts_.contains(header.unique)) FUZZ_CHECK(answered_.insert(header.unique).second);
      if (header.unique != unique_) continue;
      return {header.error, bytes.substr(sizeof header, static_cast<size_t>(got) - sizeof header)};
    }
  }

  Answer ask(uint32_t opcode, uint64_t node, std::string_view body) {
    send(opcode, node, body);
    return receive();
  }

  uint64_t node() {
    const uint8_t byte = input_.byte();
    const auto flavour = (byte & 1) != 0 ? fusefs::Flavour::kDevice : fusefs::Flavour::kFile;
    if (byte < 8) return FUSE_ROOT_ID;
    if (byte < 40) return fusefs::inode_number({NodeId::control(), flavour});
    if (byte < 160) return fusefs::inode_number({NodeId::of_device(byte / 2 % 4), flavour});
    if (byte < 240)
      return fusefs::inode_number({NodeId::of_partition(byte / 2 % 2, byte / 4 % 4 + 1), flavour});
    return input_.take<uint64_t>();
  }

  void open() {
    fuse_open_in body{};
    body.flags = input_.take<uint16_t>();
    const Answer answer = ask(FUSE_OPEN, node(), bytes_of(body));
    if (answer.error != 0) return;
    fuse_open_out out{};
    FUZZ_CHECK(answer.body.size() == sizeof out);
    std::memcpy(&out, answer.body.data(), sizeof out);
    open_.push_back(out.fh);
    if (open_.size() > 8) release(0);
  }

  void release(size_t index) {
    fuse_release_in body{};
    body.fh = open_[index];
    open_.erase(open_.begin() + static_cast<ptrdiff_t>(index));
    FUZZ_CHECK(ask(FUSE_RELEASE, 0, bytes_of(body)).error == 0);
  }

  // FLUSH, which others wait for the RELEASE after.
  void close() {
    if (open_.empty()) return;
    const size_t index = input_.below(open_.size());
    fuse_flush_in body{};
    body.fh = open_[index];
    (void)ask(FUSE_FLUSH, 0, bytes_of(body));
    release(index);
  }

  // None: there is no open file. A daemon may be given numbers of an earlier one: any.
  std::optional<uint64_t> handle() {
    const uint8_t byte = input_.byte();
    if (byte > 250 && mount_.shared()) return input_.take<uint64_t>();
    if (open_.empty()) return std::nullopt;
    return open_[byte % open_.size()];
  }

  // A number that leads to a file of the caller's.
  int descriptor() { return world().files.at(input_.byte()); }

  Answer ioctl_of(uint64_t file, unsigned command, uint64_t argument, uint32_t flags) {
    fuse_ioctl_in body{};
    body.fh = file;
    body.cmd = command;
    body.arg = argument;
    body.flags = flags;
    std::string data((_IOC_DIR(command) & _IOC_WRITE) != 0 ? _IOC_SIZE(command) : 0, '\0');
    const std::string_view given = input_.bytes(data.size());
    data.replace(0, given.size(), given);
    body.in_size = static_cast<uint32_t>(data.size());
    body.out_size = (_IOC_DIR(command) & _IOC_READ) != 0 ? _IOC_SIZE(command) : 0;
    return ask(FUSE_IOCTL, 0, std::string(bytes_of(body)) + data);
  }

  void ioctl() {
    static constexpr unsigned kCommands[] = {LOOP_CONFIGURE,
                                             LOOP_SET_FD,
                                             LOOP_CLR_FD,
                                             LOOP_SET_STATUS,
                                             LOOP_GET_STATUS,
                                             LOOP_SET_STATUS64,
                                             LOOP_CHANGE_FD,
                                             LOOP_SET_CAPACITY,
                                             LOOP_CTL_ADD,
                                             LOOP_CTL_REMOVE,
                                             LOOP_CTL_GET_FREE,
                                             LOOP_GET_STATUS64,
                                             BLKGETSIZE64,
                                             LOOP_SET_DIRECT_IO,
                                             LOOP_SET_BLOCK_SIZE,
                                             BLKBSZSET,
                                             BLKROSET,
                                             BLKZEROOUT,
                                             BLKDISCARD,
                                             BLKFLSBUF,
                                             BLKRRPART,
                                             BLKPG,
                                             BLKROGET};
    const auto file = handle();
    const uint8_t byte = input_.byte();
    const unsigned command = byte == 255 ? input_.take<uint32_t>() : kCommands[byte % std::size(kCommands)];
    const uint8_t kind = input_.byte();
    const uint64_t argument = kind < 128   ? Dummies::kAddress + kind % 2 * 4096
                              : kind < 192 ? kind % 8
                                           : static_cast<uint64_t>(descriptor());
    const auto memory = world().dummies.memory();
    const std::string_view text = input_.bytes(input_.byte());
    std::ranges::fill(memory.first(8192), std::byte{});
    std::memcpy(memory.data(), text.data(), text.size());
    const uint32_t flags = input_.below(8) == 0 ? input_.byte() : 0;
    if (file) (void)ioctl_of(*file, command, argument, flags);
  }

  // A device that is good for something.
  void bind() {
    const auto file = handle();
    loop_config config{};
    config.fd = static_cast<uint32_t>(descriptor());
    const uint8_t bits = input_.byte();
    config.block_size = (bits & 1) != 0 ? 4096 : 0;
    config.info.lo_flags = bits & 0x1c;
    config.info.lo_offset = (bits >> 5) * uint64_t{512};
    std::memcpy(world().dummies.memory().data(), &config, sizeof config);
    caller_ = world().dummies.pid(0);
    if (file) (void)ioctl_of(*file, LOOP_CONFIGURE, Dummies::kAddress, 0);
  }

  uint64_t offset() {
    const uint8_t byte = input_.byte();
    return byte < 200 ? byte * uint64_t{512} : input_.take<uint64_t>();
  }

  void io() {
    const auto file = handle();
    const size_t kind = input_.below(5);
    const uint64_t at = offset(), size = input_.byte() * uint64_t{256};
    if (!file) return;
    if (kind == 0) return read(*file, FUSE_READ, at, size);
    if (kind == 1) return write(*file, at, size);
    if (kind == 2) {
      fuse_fsync_in body{};
      body.fh = *file;
      body.fsync_flags = static_cast<uint32_t>(at);
      (void)ask(FUSE_FSYNC, 0, bytes_of(body));
    } else if (kind == 3) {
      fuse_fallocate_in body{};
      body.fh = *file;
      body.offset = at;
      body.length = size;
      body.mode = input_.byte();
      (void)ask(FUSE_FALLOCATE, 0, bytes_of(body));
    } else {
      fuse_lseek_in body{};
      body.fh = *file;
      body.offset = at;
      body.whence = input_.byte();
      (void)ask(FUSE_LSEEK, 0, bytes_of(body));
    }
  }

  void read(uint64_t file, uint32_t opcode, uint64_t at, uint64_t size) {
    fuse_read_in body{};
    body.fh = file;
    body.offset = at;
    body.size = static_cast<uint32_t>(size);
    const Answer answer = ask(opcode, FUSE_ROOT_ID, bytes_of(body));
    FUZZ_CHECK(answer.body.size() <= size);
  }

  void write(uint64_t file, uint64_t at, uint64_t size) {
    std::string data(size, 'w');
    const std::string_view text = input_.bytes(size);
    data.replace(0, text.size(), text);
    fuse_write_in body{};
    body.fh = file;
    body.offset = at;
    body.size = static_cast<uint32_t>(size);
    (void)ask(FUSE_WRITE, 0, std::string(bytes_of(body)) + data);
  }

  std::string name() {
    static constexpr const char* kNames[] = {"loop0", "loop-control", "loop0p1",  "loop1",
                                             "loop2", "loop4095",     "loop1p255"};
    const uint8_t byte = input_.byte();
    if (byte < 200) return kNames[byte % std::size(kNames)];
    std::string text(input_.bytes(byte - 200));
    std::erase(text, '\0');
    return text;
  }

  void lookup() {
    const std::string text = name();
    const Answer answer =
        ask(input_.below(4) == 0 ? FUSE_UNLINK : FUSE_LOOKUP, FUSE_ROOT_ID, {text.c_str(), text.size() + 1});
    FUZZ_CHECK(answer.error != 0 || answer.body.empty() || answer.body.size() == sizeof(fuse_entry_out));
  }

  void setattr() {
    fuse_setattr_in body{};
    const uint8_t bits = input_.byte();
    body.valid = (bits & 128) != 0 ? input_.take<uint32_t>() : bits;
    body.valid &= ~uint32_t{FATTR_FH};
    body.mode = input_.take<uint32_t>();
    body.uid = input_.byte();
    body.size = input_.take<uint64_t>();
    (void)ask(FUSE_SETATTR, node(), bytes_of(body));
  }

  void readdir() {
    read(0, FUSE_READDIR, input_.below(2) == 0 ? input_.byte() : input_.take<uint64_t>(),
         input_.byte() * uint64_t{16});
  }

  // Any opcode but those that have an open file, which has to be true, and the ones of the session's beginning.
  void any() {
    static constexpr uint32_t kOthers[] = {FUSE_READ,        FUSE_WRITE,  FUSE_RELEASE, FUSE_FSYNC,
                                           FUSE_FLUSH,       FUSE_INIT,   FUSE_IOCTL,   FUSE_OPEN,
                                           FUSE_FALLOCATE,   FUSE_LSEEK,  FUSE_DESTROY, FUSE_NOTIFY_REPLY,
                                           FUSE_READDIRPLUS, FUSE_READDIR};
    const uint32_t opcode = input_.byte() % (kMostOpcode + 1);
    if (std::ranges::find(kOthers, opcode) != std::end(kOthers)) return;
    std::string body(kRoom, '\0');
    const std::string_view text = input_.bytes(input_.below(kRoom - 8));
    body.replace(0, text.size(), text);
    if (opcode == FUSE_BATCH_FORGET) body.replace(0, 4, std::string("\2\0\0\0", 4));
    send(opcode, node(), body);
    if (opcode == FUSE_INTERRUPT) interrupts_.insert(unique_);
    if (opcode == FUSE_INTERRUPT || opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET) return;
    (void)receive();
  }

  Mount& mount_;
  Input& input_;
  pid_t caller_ = 0;
  uint64_t unique_ = 0;
  std::vector<uint64_t> open_;
  std::set<uint64_t> answered_, interrupts_;
};

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace loopfs::fuzz;
  constexpr int kMostSteps = 60;
  Input input(data, size);
  world().files.reset();
  Mount mount(input.below(2) == 1);
  Kernel kernel(mount, input);
  if (!kernel.begin()) return 0;
  for (int i = 0; i < kMostSteps && !input.empty(); ++i) kernel.step();
  kernel.end();
  return 0;
}
