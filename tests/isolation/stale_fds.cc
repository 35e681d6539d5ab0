// Descriptors that are kept: across clear, across binding the node again, and, with "hold", past the unmounting of the
// instance.
//   stale_fds DIRECTORY PREFIX FILE0 FILE1        FILEn has the mark PREFIX-n
//   stale_fds hold DIRECTORY PREFIX FILE0         binds loop1, says "bound K", keeps it open until a line comes in
#include "attack.h"

static int open_node(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) broken("open %s", path.c_str());
  return fd;
}

// Only after a moment has nobody seen the last user leave.
static bool becomes_free(const std::string& path) {
  for (const double end = now() + 3; now() < end;) {
    const int fd = open_node(path, O_RDONLY);
    const bool free_now = !is_block(fd);
    close(fd);
    if (free_now) return true;
    const timespec pause = {0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
  return false;
}

static void expect_mark(int fd, const std::string& mark, const char* what) {
  const std::string found = mark_of(fd);
  if (found != mark && !found.empty())
    leak("%s shows the mark '%s', not '%s'", what, found.c_str(), mark.c_str());
}

static int hold(char** argv) {
  const std::string path = node(argv[2], 1);
  const int file = open_node(argv[4], O_RDWR), loop = open_node(path, O_RDWR);
  if (configure(loop, file) != 0) broken("LOOP_CONFIGURE");
  const int device = open_node(path, O_RDWR);
  struct stat status = {};
  if (!is_block(device) || fstat(device, &status) != 0) broken("open the device");
  printf("bound %u\n", minor(status.st_rdev));
  fflush(stdout);
  char line[16];
  if (fgets(line, sizeof line, stdin) == nullptr) return 1;
  const std::string mark = std::string(argv[3]) + "-0";
  if (check_open(device, mark, "after umount -l") != Seen::kBound) broken("it is not bound any more");
  const std::string text = mark + ";written after umount";
  if (pwrite(device, text.data(), text.size(), 4096) != static_cast<ssize_t>(text.size()) ||
      fsync(device) != 0) {
    broken("write after umount -l");
  }
  struct stat any;
  if (stat(path.c_str(), &any) == 0) broken("the node is still there");
  // The instance itself lives as long as files of it are open, and ends with them.
  if (mark_of(loop) != mark) leak("the file of the node shows '%s'", mark_of(loop).c_str());
  printf("held\n");
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  if (strcmp(argv[1], "hold") == 0) return hold(argv);
  const std::string loop0 = node(argv[1], 0), loop1 = node(argv[1], 1);
  const std::string mark[2] = {std::string(argv[2]) + "-0", std::string(argv[2]) + "-1"};
  const int file[2] = {open_node(argv[3], O_RDWR), open_node(argv[4], O_RDWR)};
  const int control = open_node(std::string(argv[1]) + "/loop-control", O_RDWR);
  ioctl(control, LOOP_CTL_ADD, 1L);

  // A kernel device kept open is not unbound, whatever is asked, and nothing else is bound to it.
  const int early = open_node(loop0, O_RDWR);  // of the free node
  if (configure(early, file[0]) != 0) broken("LOOP_CONFIGURE");
  const int device = open_node(loop0, O_RDWR), path = open_node(loop0, O_PATH);
  const unsigned number = [&] {
    struct stat status = {};
    fstat(device, &status);
    return minor(status.st_rdev);
  }();
  if (ioctl(device, LOOP_CLR_FD) != 0) broken("LOOP_CLR_FD");
  if (configure(device, file[1]) == 0) leak("a bound device was bound");
  if (configure(early, file[1]) == 0) leak("loop0 was bound twice");
  loop_info64 info = {};
  if (ioctl(device, LOOP_CHANGE_FD, file[1]) == 0) leak("a writable device changed its file");
  const int other = open_node(loop1, O_RDWR);
  if (configure(other, file[1]) != 0) broken("LOOP_CONFIGURE of loop1");
  expect_mark(device, mark[0], "loop0, cleared and open");
  expect_mark(early, mark[0], "loop0, cleared and open as a file");
  if (ioctl(device, LOOP_GET_STATUS64, &info) == 0 && (info.lo_flags & LO_FLAGS_AUTOCLEAR) == 0) {
    leak("loop0 was cleared and stays");
  }
  close(device);
  close(early);
  if (!becomes_free(loop0)) broken("loop0 stays bound with nobody using it");

  // What was found before leads nowhere, or to what the node is now. `number` may be bound again by now.
  const int again = open_node(loop0, O_RDWR);
  if (configure(again, file[1]) != 0) broken("LOOP_CONFIGURE again");
  const int reopened = open(("/proc/self/fd/" + std::to_string(path)).c_str(), O_RDWR | O_CLOEXEC);
  if (reopened >= 0) expect_mark(reopened, mark[1], "an O_PATH descriptor of before");
  const bool stale = reopened < 0 && errno == ESTALE;
  expect_mark(again, mark[1], "loop0, bound again");
  ioctl(again, LOOP_CLR_FD);
  ioctl(other, LOOP_CLR_FD);
  close(again);
  close(reopened);
  if (!becomes_free(loop0)) broken("loop0 stays bound");

  // The kernel changes a read-only device's file for whoever has it open, and gives it a new sequence number. The node
  // goes on leading to it, and it ends with the instance: left bound here, for the test to look.
  const int changing = open_node(loop0, O_RDONLY);
  if (configure(changing, file[0], LO_FLAGS_READ_ONLY) != 0) broken("LOOP_CONFIGURE read-only");
  const int changed = open_node(loop0, O_RDONLY);
  if (ioctl(changed, LOOP_CHANGE_FD, file[1]) != 0) broken("LOOP_CHANGE_FD");
  const int after = open_node(loop0, O_RDONLY);
  if (!is_block(after)) broken("loop0 is free after LOOP_CHANGE_FD");

  printf("stale_fds %s: loop%u stayed what it was; an old O_PATH descriptor is %s\n", argv[2], number,
         stale ? "stale" : "the device of now");
  return 0;
}
