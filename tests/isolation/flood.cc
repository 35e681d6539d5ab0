// Everything at once and as much as there is: 10000 opens of loop-control, 64 threads of ioctls, directories read all
// the time. `latency` in another instance measures whether it notices.
//   flood DIRECTORY FILE SECONDS
#include <dirent.h>
#include <sys/resource.h>

#include <thread>
#include <vector>

#include "attack.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string directory = argv[1];
  const int file = open(argv[2], O_RDWR | O_CLOEXEC);
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<int> opened;
  for (int i = 0; i < 10000; ++i) {
    const int fd = open((directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) break;
    opened.push_back(fd);
  }
  const double end = now() + atof(argv[3]);
  std::atomic<unsigned long> ioctls{0}, names{0}, binds{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 64; ++i) {
    threads.emplace_back([&, i] {
      const int control = opened.empty() ? -1 : opened[static_cast<size_t>(i) % opened.size()];
      for (unsigned round = 0; now() < end; ++round) {
        if (i < 8) {
          DIR* stream = opendir(directory.c_str());
          while (stream != nullptr && readdir(stream) != nullptr) ++names;
          if (stream != nullptr) closedir(stream);
        } else if (i < 16) {
          const int loop = open(node(directory, static_cast<unsigned>(i) & 3).c_str(), O_RDWR | O_CLOEXEC);
          if (loop < 0) continue;
          if (is_block(loop) ? ioctl(loop, LOOP_CLR_FD) == 0 : configure(loop, file) == 0) ++binds;
          close(loop);
        } else {
          ioctl(control, LOOP_CTL_GET_FREE);
        }
        ++ioctls;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (unsigned i = 0; i < 4; ++i) {
    const int loop = open(node(directory, i).c_str(), O_RDWR | O_CLOEXEC);
    if (loop >= 0) ioctl(loop, LOOP_CLR_FD);
    close(loop);
  }
  printf(
      "flood: %zu opens of loop-control kept, %lu calls in 64 threads, %lu binds and clears, %lu names "
      "read\n",
      opened.size(), ioctls.load(), binds.load(), names.load());
  return opened.size() < 9000 || ioctls == 0 ? 1 : 0;
}
