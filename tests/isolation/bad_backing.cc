// Backing files of every bad kind. Most must be refused; none may take from others what is theirs. At last files of a FUSE
// file system of the container's own, whose server stops answering: the daemon must refuse them without asking.
//   bad_backing DIRECTORY FOLDER FILE SECONDS     DIRECTORY's max is 12 at least; FOLDER is writable; FILE has a mark
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <thread>
#include <vector>

#include "attack.h"
#include "fuse_server.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

namespace {

std::string g_directory, g_folder;
std::string g_said;

int open_node(unsigned number, int flags = O_RDWR) {
  const std::string path = node(g_directory, number);
  for (const double end = now() + 5;;) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno != ENXIO || now() > end) broken("open %s", path.c_str());  // ENXIO: it is just being unbound
  }
}

void say(const char* what, int error) {
  g_said +=
      std::string(g_said.empty() ? "" : ", ") + what + " " + (error == 0 ? "bound" : strerrorname_np(error));
}

// Whether the file can be bound; if it is, it is cleared again.
int try_file(const char* what, int file, int flags = O_RDWR) {
  const int loop = open_node(11, flags);
  const int error = configure(loop, file);
  if (error == 0) ioctl(loop, LOOP_CLR_FD);
  close(loop);
  say(what, error);
  return error;
}

void expect(const char* what, int file, int wanted) {
  const int error = try_file(what, file);
  if (error != wanted) leak("%s as a backing file: %s, not %s", what, strerror(error), strerror(wanted));
}

void kinds(const char* file) {
  int ends[2];
  expect("directory", open(g_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), EINVAL);
  if (pipe2(ends, O_CLOEXEC) == 0) expect("pipe", ends[0], EINVAL);
  expect("socket", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), EINVAL);
  expect("/dev/null", open("/dev/null", O_RDWR | O_CLOEXEC), EINVAL);
  expect("O_PATH", open(file, O_PATH | O_CLOEXEC), EBADF);
  expect("none", 12345, EBADF);
  expect("negative", -1, EBADF);
  expect("loop-control", open((g_directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC), EINVAL);
  expect("free node", open_node(0), EINVAL);
  const int self = open_node(11);
  expect("itself", self, EINVAL);
  close(self);
  // What the descriptor does not allow, the device would: the loop driver asks for neither.
  expect("O_WRONLY", open(file, O_WRONLY | O_CLOEXEC), EBADF);
  expect("O_APPEND", open(file, O_RDWR | O_APPEND | O_CLOEXEC), EPERM);
  const int only_read = open(file, O_RDONLY | O_CLOEXEC);
  try_file("read-only", only_read);
  // A device bound to a file open for reading is read-only, whoever opens it.
  const int loop = open_node(11);
  if (configure(loop, only_read) != 0) broken("bind a read-only file");
  const int device = open(node(g_directory, 11).c_str(), O_RDWR | O_CLOEXEC);
  if (device >= 0 && is_block(device) && pwrite(device, "x", 1, 0) == 1 && fsync(device) == 0) {
    leak("a file open for reading was written to");
  }
  close(device);
  ioctl(loop, LOOP_CLR_FD);
  close(loop);
  for (const char* path :
       {"/proc/self/status", "/proc/kmsg", "/sys/kernel/uevent_seqnum", "/proc/self/mem"}) {
    const int special = open(path, O_RDONLY | O_CLOEXEC);
    if (special >= 0) try_file(path, special, O_RDONLY);
    if (special >= 0) close(special);
  }
}

// loop0 on a file, loop1 on loop0, ... and what the kernel says to a circle.
void chain(int file) {
  std::vector<int> loops;
  int below = file;
  unsigned depth = 0;
  for (; depth < 10; ++depth) {
    const int loop = open_node(depth);
    if (configure(loop, below) != 0) break;
    loops.push_back(loop);
    const int device = open_node(depth);
    if (!is_block(device)) leak("loop%u is bound and no device", depth);
    loops.push_back(device);
    below = device;
  }
  const std::string mark = mark_of(below);
  if (depth > 0 && mark.empty()) broken("read through %u devices", depth);
  // A circle: through the node of the chain's start, which is bound, and by changing its file.
  loop_info64 info = {};
  if (depth > 1) {
    if (ioctl(loops[1], LOOP_CHANGE_FD, below) == 0) leak("a circle of devices");
    if (ioctl(loops[0], LOOP_CHANGE_FD, below) == 0) leak("a circle of devices, by the node");
    if (configure(loops[1], below) == 0) leak("a bound device was bound to another");
  }
  (void)info;
  while (!loops.empty()) {
    ioctl(loops.back(), LOOP_CLR_FD);
    close(loops.back());
    loops.pop_back();
  }
  g_said += ", a chain of " + std::to_string(depth);
}

// Ways to such a file past the daemon: by an ioctl on the device itself, where only the kernel is asked; and through an
// overlay, whose files do not say what is below them.
void detours(const std::string& foreign) {
  const int file = open(foreign.c_str(), O_RDONLY | O_CLOEXEC);
  const std::string plain = g_folder + "/plain";
  const int good = open(plain.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (ftruncate(good, 65536) != 0) broken("make %s", plain.c_str());
  const int loop = open_node(11, O_RDONLY);
  if (configure(loop, good, LO_FLAGS_READ_ONLY) != 0) broken("bind %s", plain.c_str());
  const int device = open_node(11, O_RDONLY);
  const int changed = ioctl(device, LOOP_CHANGE_FD, file) == 0 ? 0 : errno;
  say("FUSE by LOOP_CHANGE_FD of the device", changed);
  ioctl(device, LOOP_CLR_FD);
  close(device);
  close(loop);
  close(good);

  const std::string over = g_folder + "/over",
                    options = "lowerdir=" + g_folder + "/fuse:" + g_folder + "/empty";
  mkdir(over.c_str(), 0755);
  mkdir((g_folder + "/empty").c_str(), 0755);
  if (mount("over", over.c_str(), "overlay", MS_RDONLY, options.c_str()) != 0) {
    g_said += std::string(", no overlay of FUSE: ") + strerror(errno);
    return;
  }
  const int covered = open((over + "/f").c_str(), O_RDONLY | O_CLOEXEC);
  if (covered >= 0 && try_file("FUSE below an overlay", covered, O_RDONLY) != EOPNOTSUPP) {
    leak("a FUSE file was bound through an overlay");
  }
  close(covered);
  umount2(over.c_str(), MNT_DETACH);
}

void foreign_file_system(double seconds) {
  static Fuse fuse;
  if (!fuse.start(g_folder + "/fuse")) {
    g_said += ", no FUSE here";
    return;
  }
  const int file = open((fuse.place + "/f").c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) broken("open a file of the FUSE server's own");
  expect("FUSE", file, EOPNOTSUPP);
  detours(fuse.place + "/f");
  fuse.shared.mute = true;
  const double begin = now();
  // From many threads: whoever asked the server would be stuck, and its share of the daemon with it.
  std::vector<std::thread> threads;
  std::atomic<unsigned long> refused{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (now() < begin + seconds) {
        const int loop = open_node(11);
        const int error = configure(loop, file);
        if (error != EOPNOTSUPP && error != EBUSY)
          leak("a file of a silent FUSE server: %s", strerror(error));
        close(loop);
        ++refused;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  if (now() > begin + seconds + 5)
    leak("the silent FUSE server held the daemon for %.1f s", now() - begin - seconds);
  g_said += ", a silent FUSE server's file refused " + std::to_string(refused.load()) + " times";
  umount2(fuse.place.c_str(), MNT_DETACH);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  g_directory = argv[1];
  g_folder = argv[2];
  const int control = open((g_directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  for (long i = 0; i < 12; ++i) {
    if (ioctl(control, LOOP_CTL_ADD, i) < 0 && errno != EEXIST) broken("LOOP_CTL_ADD %ld", i);
  }
  const int file = open(argv[3], O_RDWR | O_CLOEXEC);
  if (file < 0) broken("open %s", argv[3]);
  kinds(argv[3]);
  chain(file);
  foreign_file_system(atof(argv[4]));
  printf("bad_backing: %s\n", g_said.c_str());
  _exit((fflush(stdout), 0));
}
