// LOOP_CTL_GET_FREE, ADD and REMOVE as fast as they go, in several threads. An instance's numbers are its own: below its
// max, and of devices that are in its directory.
//   numbers DIRECTORY MAX SECONDS
#include <dirent.h>
#include <sys/syscall.h>

#include <thread>
#include <vector>

#include "attack.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string directory = argv[1];
  const int most = atoi(argv[2]);
  const double end = now() + atof(argv[3]);
  std::atomic<unsigned long> calls{0}, refused{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      unsigned state = seed + 1;
      while (now() < end) {
        const int control = open((directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
        for (int i = 0; i < 50; ++i) {
          state = state * 1103515245 + 12345;
          static const unsigned kCommands[] = {LOOP_CTL_GET_FREE, LOOP_CTL_ADD, LOOP_CTL_REMOVE};
          static const int kNumbers[] = {0,          1, 2,   3, -1, 4, 400000, 1 << 20, -2147483647 - 1,
                                         2147483647, 7, 4095};
          const unsigned command = kCommands[state >> 16 & 3 ? (state >> 18) % 3 : 0];
          const int number = kNumbers[(state >> 20) % 12];
          const int answer = ioctl(control, command, static_cast<long>(number));
          ++calls;
          if (answer < 0) {
            ++refused;
            continue;
          }
          if (command == LOOP_CTL_GET_FREE && answer >= 4096) leak("GET_FREE gave %d", answer);
          if (command == LOOP_CTL_ADD && number >= 0 && answer != number)
            leak("ADD %d gave %d", number, answer);
        }
        close(control);
        // The first getdents(2) is one request; a second one would see what has been made meanwhile.
        int devices = -1;  // loop-control is none
        alignas(8) char entries[4096];
        const int listing = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const long length = syscall(SYS_getdents64, listing, entries, sizeof entries);
        for (long at = 0; at < length;) {
          const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
          devices += strncmp(entry->d_name, "loop", 4) == 0;
          at += entry->d_reclen;
        }
        close(listing);
        if (devices > most) leak("%d devices, max=%d", devices, most);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  printf("numbers: %lu calls, %lu refused; none out of range\n", calls.load(), refused.load());
  return 0;
}
