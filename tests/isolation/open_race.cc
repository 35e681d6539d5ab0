// The main race: threads that open a node in every way there is while others bind its device to one file, clear it
// and bind it to another. Run it in two instances at once, beside `victim`.
//
//   open_race DIRECTORY PREFIX FILE0 FILE1 SECONDS [WAY...]
//
// FILE0 and FILE1 have the marks PREFIX-0 and PREFIX-1; with "-" for both, another process binds them. Ways are those of kWays below, spread over the devices 0 to 3;
// with none, all of them. $OTHER_ROOT: a path to DIRECTORY through /proc/PID/root of another process.
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "attack.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

namespace {

constexpr unsigned kDevices = 4;

std::string g_prefix;
double g_end;
std::atomic<unsigned long> g_blocks, g_files, g_rundown, g_refused, g_binds, g_clears;
std::atomic<bool> g_done;

struct Arena {
  std::string node;
  // A device is unbound when nobody has it open. So while it is being cleared no new open is begun, but for some;
  // those that are under way are the ones to catch.
  std::atomic<bool> clearing{false};
};
Arena g_arenas[kDevices];
thread_local std::string g_node;  // of the arena that the thread is in

// One thread's way to open the node. A descriptor, or -errno.
class Way {
 public:
  virtual ~Way() = default;
  virtual int open_node() = 0;
};

int result(long value) {
  return static_cast<int>(value < 0 ? -errno : value);
}

class Flags : public Way {  // open(2), with flags that some program or other passes
 public:
  explicit Flags(int flags) : flags_(flags) {}
  int open_node() override { return result(::open(g_node.c_str(), flags_ | O_CLOEXEC, 0600)); }

 private:
  const int flags_;
};

class Reopened : public Way {  // by /proc/self/fd, from an O_PATH descriptor that is `uses` opens old at most
 public:
  explicit Reopened(int uses) : uses_(uses) {}
  int open_node() override {
    if (path_ < 0 || left_ == 0) {
      if (path_ >= 0) close(path_);
      path_ = ::open(g_node.c_str(), O_PATH | O_CLOEXEC);
      left_ = uses_;
      if (path_ < 0) return -errno;
    }
    --left_;
    return result(::open(("/proc/self/fd/" + std::to_string(path_)).c_str(), O_RDONLY | O_CLOEXEC));
  }

 private:
  const int uses_;
  int path_ = -1, left_ = 0;
};

class BindMount : public Way {  // of the node, on a file
 public:
  BindMount() {
    char name[] = "/tmp/node.XXXXXX";
    const int fd = mkstemp(name);
    if (fd < 0) broken("make a file in /tmp");
    close(fd);
    place_ = name;
  }
  ~BindMount() override {
    drop();
    unlink(place_.c_str());
  }
  int open_node() override {
    if (left_ == 0) {
      drop();
      if (mount(g_node.c_str(), place_.c_str(), nullptr, MS_BIND, nullptr) != 0) return -errno;
      mounted_ = true;
      left_ = 8;
    }
    --left_;
    return result(::open(place_.c_str(), O_RDONLY | O_CLOEXEC));
  }

 private:
  void drop() {
    if (mounted_) umount2(place_.c_str(), MNT_DETACH);
    mounted_ = false;
  }
  std::string place_;
  bool mounted_ = false;
  int left_ = 0;
};

class ByHandle : public Way {  // open_by_handle_at(2), which only root of the machine may
 public:
  ByHandle()
      : mount_(::open(g_node.substr(0, g_node.rfind('/')).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  ~ByHandle() override { close(mount_); }
  int open_node() override {
    int id = 0;
    if (left_ == 0) {
      handle_.head.handle_bytes = sizeof handle_.bytes;
      if (name_to_handle_at(AT_FDCWD, g_node.c_str(), &handle_.head, &id, 0) != 0) return -errno;
      left_ = 8;
    }
    --left_;
    return result(open_by_handle_at(mount_, &handle_.head, O_RDONLY | O_CLOEXEC));
  }

 private:
  const int mount_;
  int left_ = 0;
  struct {
    file_handle head;
    char bytes[MAX_HANDLE_SZ];
  } handle_;
};

class Cached : public Way {  // openat2(2) with RESOLVE_CACHED, which must never get in without a request
 public:
  int open_node() override {
    open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC;
    how.resolve = (++count_ & 7) != 0 ? RESOLVE_CACHED : 0;
    return result(syscall(SYS_openat2, AT_FDCWD, g_node.c_str(), &how, sizeof how));
  }

 private:
  unsigned count_ = 0;
};

// IORING_OP_OPENAT by the ring's worker threads. /proc shows those in the system call that their process was in when
// they were made: here either io_uring_enter(2), or a stat(2) that goes on while the workers are at it.
class Ring : public Way {
 public:
  explicit Ring(bool looking) : looking_(looking) {
    ring_ = static_cast<int>(syscall(SYS_io_uring_setup, kEntries, &offsets_));
    if (ring_ < 0) return;
    const auto map = [this](size_t size, off_t offset) {
      return static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring_, offset));
    };
    submissions_ = map(offsets_.sq_off.array + 4 * offsets_.sq_entries, IORING_OFF_SQ_RING);
    completions_ = map(offsets_.cq_off.cqes + offsets_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    entries_ =
        reinterpret_cast<io_uring_sqe*>(map(offsets_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  }
  ~Ring() override {
    for (; left_ > 0; --left_) close(next());
    if (ring_ >= 0) close(ring_);
  }
  int open_node() override {
    if (ring_ < 0) return -ENOMEM;
    if (left_ == 0) submit();
    --left_;
    return next();
  }

 private:
  static constexpr unsigned kEntries = 4;

  static uint32_t* word(char* base, uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); }

  void submit() {
    uint32_t* tail = word(submissions_, offsets_.sq_off.tail);
    for (unsigned i = 0; i < kEntries; ++i) {
      const uint32_t index = *tail & *word(submissions_, offsets_.sq_off.ring_mask);
      io_uring_sqe& entry = entries_[index];
      entry = {};
      entry.opcode = IORING_OP_OPENAT;
      entry.flags = IOSQE_ASYNC;
      entry.fd = AT_FDCWD;
      entry.addr = reinterpret_cast<uint64_t>(g_node.c_str());
      entry.open_flags = O_RDONLY | O_CLOEXEC;
      word(submissions_, offsets_.sq_off.array)[index] = index;
      __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    }
    if (syscall(SYS_io_uring_enter, ring_, kEntries, 0, 0, nullptr, 0) != kEntries) broken("io_uring_enter");
    left_ = kEntries;
  }

  int next() {
    uint32_t* head = word(completions_, offsets_.cq_off.head);
    while (*head == __atomic_load_n(word(completions_, offsets_.cq_off.tail), __ATOMIC_ACQUIRE)) {
      struct stat status;
      if (looking_)
        syscall(SYS_stat, "/", &status);
      else
        syscall(SYS_io_uring_enter, ring_, 0, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
    }
    const auto* cqes = reinterpret_cast<io_uring_cqe*>(completions_ + offsets_.cq_off.cqes);
    const int answer = cqes[*head & *word(completions_, offsets_.cq_off.ring_mask)].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return answer;
  }

  const bool looking_;
  int ring_ = -1;
  unsigned left_ = 0;
  char *submissions_ = nullptr, *completions_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
  io_uring_params offsets_ = {};
};

class OtherRoot : public Way {  // through /proc/PID/root: another mount, of the same or of another container
 public:
  int open_node() override {
    return result(::open((std::string(getenv("OTHER_ROOT")) + g_node.substr(g_node.rfind('/'))).c_str(),
                         O_RDONLY | O_CLOEXEC));
  }
};

#ifdef __x86_64__
// i386's entry into the kernel, from a 64-bit program: the same numbers mean other calls there.
class OldEntry : public Way {
 public:
  explicit OldEntry(bool at) : at_(at), path_(low_copy()) {}
  int open_node() override {
    long answer = 0;
    if (at_) {
      asm volatile("int $0x80"
                   : "=a"(answer)
                   : "a"(295), "b"(AT_FDCWD), "c"(path_), "d"(O_RDONLY | O_CLOEXEC), "S"(0)
                   : "memory", "r8", "r9", "r10", "r11");
    } else {
      asm volatile("int $0x80"
                   : "=a"(answer)
                   : "a"(5), "b"(path_), "c"(O_RDONLY | O_CLOEXEC), "d"(0)
                   : "memory", "r8", "r9", "r10", "r11");
    }
    return static_cast<int>(answer);
  }

 private:
  static char* low_copy() {
    char* low = static_cast<char*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    if (low == MAP_FAILED) broken("mmap below 4 GiB");
    return strcpy(low, g_node.c_str());
  }
  const bool at_;
  char* const path_;
};

// A 64-bit call made from a stack and from code below 4 GiB, so that its registers look like an i386 program's.
class LowRegisters : public Way {
 public:
  LowRegisters() {
    // (number, a, b, c, d): mov rax,rdi; mov rdi,rsi; mov rsi,rdx; mov rdx,rcx; mov r10,r8; xchg rsp,r9; syscall; ...
    static const unsigned char kCode[] = {0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89,
                                          0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4c,
                                          0x87, 0xcc, 0x0f, 0x05, 0x4c, 0x87, 0xcc, 0xc3};
    code_ = static_cast<unsigned char*>(mmap(nullptr, 16384, PROT_READ | PROT_WRITE | PROT_EXEC,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    if (code_ == MAP_FAILED) broken("mmap below 4 GiB");
    memcpy(code_, kCode, sizeof kCode);
  }
  int open_node() override {
    using Call = long (*)(long, long, const char*, long, long, void*);
    Call call;
    memcpy(&call, &code_, sizeof call);
    return static_cast<int>(
        call(SYS_openat, AT_FDCWD, g_node.c_str(), O_RDONLY | O_CLOEXEC, 0, code_ + 16384 - 256));
  }

 private:
  unsigned char* code_;
};
#endif

template <typename T, auto... arguments>
std::unique_ptr<Way> make() {
  return std::make_unique<T>(arguments...);
}

const std::map<std::string, std::unique_ptr<Way> (*)()> kWays = {
    {"open", make<Flags, O_RDONLY>},
    {"write", make<Flags, O_RDWR>},
    {"exclusive", make<Flags, O_RDWR | O_EXCL>},
    {"ioctls", make<Flags, O_ACCMODE>},
    {"create", make<Flags, O_RDWR | O_CREAT>},
    {"truncate", make<Flags, O_RDWR | O_TRUNC>},
    {"direct", make<Flags, O_RDONLY | O_DIRECT>},
    {"reopen", make<Reopened, 1>},
    {"kept", make<Reopened, 50>},
    {"bind", make<BindMount>},
    {"handle", make<ByHandle>},
    {"cached", make<Cached>},
    {"ring", make<Ring, false>},
    {"ringlook", make<Ring, true>},
    {"proc", make<OtherRoot>},
#ifdef __x86_64__
    {"i386", make<OldEntry, false>},
    {"i386at", make<OldEntry, true>},
    {"low", make<LowRegisters>},
#endif
};

bool has_ring() {
  io_uring_params parameters = {};
  const int ring = static_cast<int>(syscall(SYS_io_uring_setup, 1, &parameters));
  if (ring < 0) dprintf(1, "io_uring is not to be had here (%s): left out\n", strerror(errno));
  close(ring);
  return ring >= 0;
}

bool has_code_in_data() {
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    dprintf(1, "memory with code in it is not to be had here (%s): left out\n", strerror(errno));
  else
    munmap(memory, 4096);
  return memory != MAP_FAILED;
}

// Takes out what this machine has not, and says so.
void leave_out(std::vector<std::string>& names) {
  const auto drop = [&names](std::initializer_list<const char*> ways, bool (*has)()) {
    const auto is_one = [ways](const std::string& name) {
      return std::find(ways.begin(), ways.end(), name) != ways.end();
    };
    if (std::any_of(names.begin(), names.end(), is_one) && !has())
      names.erase(std::remove_if(names.begin(), names.end(), is_one), names.end());
  };
  drop({"i386", "i386at"}, has_old_entry);
  drop({"ring", "ringlook"}, has_ring);
  drop({"low"}, has_code_in_data);
  if (names.empty()) cannot("none of the ways is to be had");
}

void pause_us(long us) {
  const timespec time = {0, us * 1000};
  nanosleep(&time, nullptr);
}

// The first of those that we may be on.
void stay_on_one_processor() {
  cpu_set_t allowed, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int processor = 0; processor < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++processor) {
    if (CPU_ISSET(processor, &allowed)) CPU_SET(processor, &one);
  }
  sched_setaffinity(0, sizeof one, &one);
}

// The thread gets milliseconds later what processor time it needs, be it between the answer and the open.
void starve() {
  stay_on_one_processor();
  const sched_param parameter = {};
  sched_setscheduler(0, SCHED_IDLE, &parameter);
}

// Takes the time of those that starve.
void spin() {
  stay_on_one_processor();
  while (!g_done) {
    for (const double end = now() + 0.006; now() < end;) {
    }
    pause_us(300);
  }
}

void open_for_ever(const std::string& name, unsigned index) {
  const Arena& arena = g_arenas[index % kDevices];
  g_node = arena.node;
  if (index % 2 == 1) starve();
  const auto way = kWays.at(name)();
  for (unsigned round = index; !g_done; ++round) {
    if (arena.clearing && round % 64 != 0) {
      pause_us(100);
      continue;
    }
    const int fd = way->open_node();
    if (fd < 0) {
      ++g_refused;
      if (fd == -EPERM && name == "handle") return;
      continue;
    }
    switch (check_open(fd, g_prefix, name.c_str())) {
      case Seen::kFile:
        ++g_files;
        break;
      case Seen::kBound:
        ++g_blocks;
        break;
      case Seen::kRundown:
        ++g_rundown;
        break;
    }
    close(fd);
    if (round % 16 == 0) pause_us(50);
  }
}

void bind_for_ever(Arena& arena, const int (&files)[2]) {
  for (unsigned round = 0; !g_done; ++round) {
    if (now() > g_end) g_done = true;
    const int loop = open(arena.node.c_str(), O_RDWR | O_CLOEXEC);
    if (loop < 0) continue;
    if (is_block(loop)) {
      arena.clearing = true;
      if (ioctl(loop, LOOP_CLR_FD) == 0) ++g_clears;
    } else if (configure(loop, files[round & 1], (round & 6) == 0 ? LO_FLAGS_AUTOCLEAR : 0) == 0) {
      ++g_binds;
      arena.clearing = false;
      pause_us((round & 3) * 300);
      // Cleared through this descriptor, or by the next round through the node.
      if ((round & 8) == 0) {
        arena.clearing = true;
        if (ioctl(loop, LOOP_CLR_FD) == 0) ++g_clears;
      }
    }
    close(loop);
    // The daemon has to see that this thread is through: the same call over again looks like one that goes on.
    pause_us(200);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  const std::string directory = argv[1];
  g_prefix = std::string(argv[2]) + "-";
  const bool binds = strcmp(argv[3], "-") != 0;
  const int files[2] = {open(argv[3], O_RDWR | O_CLOEXEC), open(argv[4], O_RDWR | O_CLOEXEC)};
  if (binds && (files[0] < 0 || files[1] < 0)) broken("open %s or %s", argv[3], argv[4]);
  const int control = open((directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  for (unsigned i = 0; i < kDevices; ++i) {
    if (ioctl(control, LOOP_CTL_ADD, i) < 0 && errno != EEXIST) broken("LOOP_CTL_ADD %u", i);
    g_arenas[i].node = node(directory, i);
  }
  g_end = now() + atof(argv[5]);
  std::vector<std::string> names(argv + 6, argv + argc);
  if (names.empty()) {
    for (const auto& [name, unused] : kWays) {
      if (name != "proc" || getenv("OTHER_ROOT") != nullptr) names.push_back(name);
    }
  }
  leave_out(names);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < names.size(); ++i) {
    threads.emplace_back(open_for_ever, names[i], static_cast<unsigned>(i));
  }
  threads.emplace_back(spin);
  for (Arena& arena : g_arenas) {
    if (binds) threads.emplace_back([&arena, &files] { bind_for_ever(arena, files); });
  }
  while (!binds && now() < g_end) pause_us(10'000);
  if (!binds) g_done = true;
  for (auto& thread : threads) thread.join();
  const unsigned long opens = g_blocks + g_files + g_rundown + g_refused;
  printf(
      "open_race %s: %lu opens: %lu of the device, %lu in rundown, %lu of a file, %lu refused; %lu binds, "
      "%lu clears; "
      "no other's mark\n",
      argv[2], opens, g_blocks.load(), g_rundown.load(), g_files.load(), g_refused.load(), g_binds.load(),
      g_clears.load());
  return g_blocks > 0 && (g_binds > kDevices || !binds) ? 0 : 1;
}
