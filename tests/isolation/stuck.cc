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
//   freeze   as "change", and LOOP_SET_STATUS64 by that file, for which the kernel waits until no read is under way
//   closing  the last close of such a device hangs, with all that opens it; another device is bound to it
//   partition   a device is bound to a partition of another one of the instance, and all ends
// Prints "stuck" when it is, and stays so until it is killed; "nodes" ends, if it got its answers.
#include <linux/blkpg.h>
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

// A read-only device that is on the silent file, with a read of it under way.
struct Silent {
  int early = -1, device = -1;  // opened before it was bound, and after
};
Silent silent_device(Fuse& fuse) {
  Silent silent;
  const int file = open(g_file.c_str(), O_RDONLY | O_CLOEXEC);
  silent.early = open_node(0, O_RDONLY);
  if (const int error = configure(silent.early, file, LO_FLAGS_READ_ONLY))
    errno = error, broken("LOOP_CONFIGURE");
  silent.device = open_node(0, O_RDONLY);
  const int other = open((fuse.place + "/f").c_str(), O_RDONLY | O_CLOEXEC);
  if (ioctl(silent.device, LOOP_CHANGE_FD, other) != 0) cannot("LOOP_CHANGE_FD of the device is refused");
  close(other);
  return silent;
}

// Without waiting for it.
void begin_to_read(const Silent& silent) {
  posix_fadvise(silent.device, 0, 4096, POSIX_FADV_WILLNEED);
}

void change() {
  Fuse& fuse = silent_server(FUSE_READ);
  const Silent silent = silent_device(fuse);
  beside([=] {
    char byte;
    (void)!pread(silent.early, &byte, 1, 0);
  });
  stay([&] { return fuse.shared.asked > 0; });
}

void freeze() {
  Fuse& fuse = silent_server(FUSE_READ);
  const Silent silent = silent_device(fuse);
  static loop_info64 info;
  if (ioctl(silent.device, LOOP_GET_STATUS64, &info) != 0) broken("LOOP_GET_STATUS64");
  begin_to_read(silent);
  info.lo_sizelimit = 32768;
  beside([=] { ioctl(silent.early, LOOP_SET_STATUS64, &info); });
  stay([&] { return fuse.shared.asked > 0; });
}

void closing() {
  const std::string second = g_folder + "/second";
  mkdir(second.c_str(), 0755);
  if (system(("\"$MOUNT_LOOPFS\" none " + second + " -o \"socket=$SOCKET\"").c_str()) != 0)
    broken("mount a second");
  const int control = open((second + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  if (ioctl(control, LOOP_CTL_GET_FREE) != 0) broken("LOOP_CTL_GET_FREE");
  Fuse& fuse = silent_server(FUSE_READ);
  const Silent silent = silent_device(fuse);
  const int above = open(node(second, 0).c_str(), O_RDONLY | O_CLOEXEC);
  if (const int error = configure(above, silent.device, LO_FLAGS_READ_ONLY))
    errno = error, broken("bind a device to the device");
  const int device = open(node(second, 0).c_str(), O_RDONLY | O_CLOEXEC);
  close(silent.early);
  close(above);
  begin_to_read(silent);
  ioctl(silent.device, LOOP_CLR_FD);
  close(silent.device);
  if (umount2(g_directory.c_str(), MNT_DETACH) != 0) broken("unmount the first");
  ioctl(device, LOOP_CLR_FD);
  beside([=] { close(device); });  // the last of the first device, in the kernel
  stay([&] { return fuse.shared.asked > 0; });
}

// Not stuck, but in its own way: the instance's own partition behind a device of it.
void partition() {
  const int file = open(g_file.c_str(), O_RDWR | O_CLOEXEC), loop = open_node(0);
  if (const int error = configure(loop, file)) errno = error, broken("LOOP_CONFIGURE");
  blkpg_partition part = {};
  part.pno = 1;
  part.start = 4096;
  part.length = 16384;
  blkpg_ioctl_arg argument = {BLKPG_ADD_PARTITION, 0, sizeof part, &part};
  if (ioctl(loop, BLKPG, &argument) != 0) broken("BLKPG");
  const int node_of_it = open((g_directory + "/loop0p1").c_str(), O_RDWR | O_CLOEXEC);
  if (!is_block(node_of_it)) broken("open loop0p1");
  if (const int error = configure(open_node(1), node_of_it))
    errno = error, broken("bind a device to a partition");
  printf("bound to a partition\n");
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
  if (way == "freeze") freeze();
  if (way == "closing") closing();
  if (way == "partition") partition();
  return 0;
}
