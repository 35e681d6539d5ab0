// LOOP_CONFIGURE that is not meant well: by many threads on one device, with memory that changes while it is read, with
// descriptors that are closed and used again meanwhile, and by processes that are killed in the middle of it.
//   configure_storm DIRECTORY PREFIX FILE0 FILE1 SECONDS
#include <signal.h>
#include <sys/wait.h>

#include <thread>
#include <vector>

#include "attack.h"

namespace {

std::string g_loop2, g_loop3, g_own;
int g_files[2], g_null;
unsigned long g_won, g_lost, g_flips, g_bound, g_kills, g_reused;

void pause_us(long us) {
  const timespec time = {0, us * 1000};
  nanosleep(&time, nullptr);
}

int open_free(const std::string& path) {
  for (const double end = now() + 10; now() < end;) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd >= 0 && !is_block(fd)) return fd;
    if (fd >= 0) {
      ioctl(fd, LOOP_CLR_FD);
      close(fd);
    }
    pause_us(1000);
  }
  broken("%s does not become free", path.c_str());
}

void check_bound(const std::string& path, const char* way) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  check_open(fd, g_own, way);
  close(fd);
}

void many_threads() {
  std::atomic<int> ready{0}, won{0}, other{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const int fd = open_free(g_loop2);
      ++ready;
      while (ready < 8) std::this_thread::yield();
      const int error = configure(fd, g_files[i & 1]);
      if (error == 0) ++won;
      if (error != 0 && error != EBUSY) other = error;
      ++ready;
      while (ready < 16) std::this_thread::yield();  // nobody closes before all have tried
      close(fd);
    });
  }
  for (auto& thread : threads) thread.join();
  if (other != 0) errno = other, broken("LOOP_CONFIGURE in 8 threads");
  if (won != 1) leak("%d of 8 threads have bound the device", won.load());
  check_bound(g_loop2, "8 threads");
  ++g_won;
  g_lost += 7;
}

void changing_memory() {
  static loop_config config;
  std::atomic<bool> done{false};
  std::thread changer([&] {
    for (unsigned i = 0; !done; ++i) {
      static const int kChoice = 4;
      const int fds[kChoice] = {g_files[0], g_files[1], g_null, -1};
      *static_cast<volatile uint32_t*>(&config.fd) = static_cast<uint32_t>(fds[i % kChoice]);
      *static_cast<volatile uint32_t*>(&config.info.lo_flags) =
          (i & 8) != 0 ? LO_FLAGS_READ_ONLY | LO_FLAGS_PARTSCAN : LO_FLAGS_AUTOCLEAR;
      *static_cast<volatile __u64*>(&config.info.lo_offset) = (i & 16) != 0 ? 512 : 0;
    }
  });
  const int fd = open_free(g_loop3);
  const int answer = ioctl(fd, LOOP_CONFIGURE, &config) == 0 ? 0 : errno;
  if (answer == 0) {
    ++g_bound;
    check_bound(g_loop3, "memory that changes");
    ioctl(fd, LOOP_CLR_FD);
  }
  done = true;
  changer.join();
  close(fd);
  ++g_flips;
}

// The number of the descriptor is another file by the time it is looked at, or none.
void reused_descriptor() {
  std::atomic<bool> done{false};
  const int number = fcntl(g_null, F_DUPFD_CLOEXEC, 100);
  std::thread changer([&] {
    for (unsigned i = 0; !done; ++i) {
      if (i % 3 == 2)
        close(number);
      else
        dup3(i % 3 == 0 ? g_files[0] : g_null, number, O_CLOEXEC);
    }
  });
  const int fd = open_free(g_loop3);
  if (configure(fd, number) == 0) {
    ++g_bound;
    check_bound(g_loop3, "a descriptor that is another by now");
    ioctl(fd, LOOP_CLR_FD);
  }
  done = true;
  changer.join();
  close(number);
  close(fd);
  ++g_reused;
}

void killed(unsigned round) {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) {
      const int fd = open(g_loop3.c_str(), O_RDWR | O_CLOEXEC);
      if (fd < 0) continue;
      if (is_block(fd))
        ioctl(fd, LOOP_CLR_FD);
      else
        configure(fd, g_files[round & 1], LO_FLAGS_AUTOCLEAR);
      if (round % 3 == 0) _exit(0);
      close(fd);
    }
  }
  if (child < 0) broken("fork");
  pause_us(static_cast<long>(round * 37 % 3000));
  kill(child, SIGKILL);
  int status;
  waitpid(child, &status, 0);
  check_bound(g_loop3, "after SIGKILL");
  ++g_kills;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  g_own = std::string(argv[2]) + "-";
  g_files[0] = open(argv[3], O_RDWR | O_CLOEXEC);
  g_files[1] = open(argv[4], O_RDWR | O_CLOEXEC);
  g_null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int control = open((std::string(argv[1]) + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  for (long number : {2L, 3L}) ioctl(control, LOOP_CTL_ADD, number);
  g_loop2 = node(argv[1], 2);
  g_loop3 = node(argv[1], 3);
  const double end = now() + atof(argv[5]);
  for (unsigned round = 0; now() < end; ++round) {
    many_threads();
    changing_memory();
    reused_descriptor();
    killed(round);
  }
  close(open_free(g_loop2));
  close(open_free(g_loop3));
  if (g_won == 0 || g_flips == 0) broken("too few rounds");
  printf(
      "configure_storm %s: 8 threads %lu times, one won each time; %lu with changing memory, %lu with a "
      "reused "
      "descriptor, %lu of them bound; %lu killed; both devices are free again\n",
      argv[2], g_won, g_flips, g_reused, g_bound, g_kills);
  return 0;
}
