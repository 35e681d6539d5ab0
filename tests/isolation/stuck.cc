// Has the daemon touch what does not answer: a file, memory, a process of the container's own.
//   stuck WAY DIRECTORY FOLDER FILE     DIRECTORY's max is 12 at least; FOLDER is writable; FILE can be bound
// Ways:
//   flush    a file of a FUSE file system as backing file, whose close(2) its server never answers
//   memory   the argument of LOOP_CONFIGURE is in a mapping of such a file, whose READ is never answered. Not in a user
//            namespace: there the kernel refuses to ask for somebody from outside
//   nodes    the instance's own nodes as backing files, more of them at once than it has threads
//   exec     execve(2) that never ends, of a thread that has just been led to a device, and has a page of such a file
//   change   by LOOP_CHANGE_FD on a device, of which only the kernel is asked, it is on such a file, and is read by a file that
//            was opened before it was bound. As "memory"
// Prints "stuck" when it is, and stays so until it is killed; "nodes" ends, if it got its answers.
#include <sys/mman.h>
#include <sys/wait.h>

#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "attack.h"
#include "fuse_server.h"

namespace {

constexpr unsigned kDevices = 12;
std::string g_directory, g_folder, g_file;

int open_node(unsigned number, int flags = O_RDWR) {
  const int fd = open(node(g_directory, number).c_str(), flags | O_CLOEXEC);
  if (fd < 0) broken("open loop%u", number);
  return fd;
}

// Requests of the kind `kept` it does not answer.
Fuse& silent_server(uint32_t kept) {
  static Fuse fuse;
  fuse.shared.kept = kept;
  if (!fuse.start(g_folder + "/silent")) cannot("no FUSE in a user namespace");
  return fuse;
}

void beside(const std::function<void()>& act) {
  std::thread(act).detach();
}

[[noreturn]] void stay(const std::function<bool()>& is_stuck) {
  for (const double end = now() + 10; !is_stuck();) {
    if (now() > end) broken("nobody was stuck");
    const timespec pause = {0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  printf("stuck\n");
  fflush(stdout);
  for (;;) pause();
}

void flush() {
  Fuse& fuse = silent_server(FUSE_FLUSH);
  const int file = open((fuse.place + "/f").c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) broken("open the silent file");
  std::atomic<unsigned> answers{0};
  for (unsigned i = 0; i < 4; ++i) {
    beside([&, i] {
      if (configure(open_node(i), file) != EOPNOTSUPP) leak("a file of a FUSE file system was bound");
      ++answers;
    });
  }
  stay([&] { return answers == 4 && fuse.shared.asked > 0; });
}

void memory() {
  Fuse& fuse = silent_server(FUSE_READ);
  const int file = open((fuse.place + "/f").c_str(), O_RDWR | O_CLOEXEC);
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) broken("map the silent file");
  for (unsigned i = 0; i < 4; ++i) beside([=] { ioctl(open_node(i), LOOP_CONFIGURE, page); });
  stay([&] { return fuse.shared.asked > 0; });
}

void nodes() {
  const double begin = now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kDevices; ++i) {
    threads.emplace_back([i] {
      const int loop = open_node(i), other = open_node((i + 1) % kDevices);
      for (int round = 0; round < 20; ++round) {
        const int error = configure(loop, other);
        if (error != EOPNOTSUPP && error != EINVAL)
          leak("a free node as a backing file: %s", strerror(error));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  printf("nodes refused in %.1f s\n", now() - begin);
}

void exec() {
  const int file = open(g_file.c_str(), O_RDWR | O_CLOEXEC), loop = open_node(0);
  if (const int error = configure(loop, file)) errno = error, broken("LOOP_CONFIGURE");
  const std::string path = node(g_directory, 0);
  if (mount("/bin/true", path.c_str(), nullptr, MS_BIND, nullptr) != 0) broken("bind over loop0");
  Fuse& fuse = silent_server(FUSE_WRITE);
  if (fork() == 0) {
    const int silent = open((fuse.place + "/f").c_str(), O_RDWR | O_CLOEXEC);
    char* page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, silent, 0));
    if (page == MAP_FAILED) broken("map the silent file");
    *page = 1;
    execl(path.c_str(), "true", nullptr);
    broken("exec %s", path.c_str());
  }
  stay([&] { return fuse.shared.asked > 0; });
}

void change() {
  const int file = open(g_file.c_str(), O_RDONLY | O_CLOEXEC), loop = open_node(0, O_RDONLY);
  if (const int error = configure(loop, file, LO_FLAGS_READ_ONLY)) errno = error, broken("LOOP_CONFIGURE");
  Fuse& fuse = silent_server(FUSE_READ);
  const int silent = open((fuse.place + "/f").c_str(), O_RDONLY | O_CLOEXEC), device = open_node(0, O_RDONLY);
  if (!is_block(device)) broken("loop0 is no device");
  if (ioctl(device, LOOP_CHANGE_FD, silent) != 0) cannot("LOOP_CHANGE_FD of the device is refused");
  beside([=] {
    char byte;
    (void)!pread(loop, &byte, 1, 0);
  });
  stay([&] { return fuse.shared.asked > 0; });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string_view way = argv[1];
  g_directory = argv[2];
  g_folder = argv[3];
  g_file = argv[4];
  const int control = open((g_directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  for (long i = 0; i < kDevices; ++i) {
    if (ioctl(control, LOOP_CTL_ADD, i) < 0 && errno != EEXIST) broken("LOOP_CTL_ADD %ld", i);
  }
  if (way == "flush") flush();
  if (way == "memory") memory();
  if (way == "nodes") nodes();
  if (way == "exec") exec();
  if (way == "change") change();
  return 0;
}
