// For bench/run kernel: binds files to loop devices and unbinds them, as losetup does, without starting a program
// for each.
//   loop_cycle cycle FOLDER FILE COUNT    GET_FREE, LOOP_CONFIGURE, LOOP_CLR_FD, by the nodes in FOLDER, COUNT times
//   loop_cycle attach FOLDER FILE COUNT   GET_FREE, LOOP_CONFIGURE only
//   loop_cycle free FOLDER                GET_FREE only; prints the device's number
// The others print the microseconds of each.
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

int check(int result, const char* what) {
  if (result >= 0) return result;
  std::fprintf(stderr, "loop_cycle: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int get_free(const std::string& folder) {
  const int control =
      check(open((folder + "/loop-control").c_str(), O_RDWR | O_CLOEXEC), "open loop-control");
  const int number = check(ioctl(control, LOOP_CTL_GET_FREE), "GET_FREE");
  close(control);
  return number;
}

std::string attach(const std::string& folder, const char* file) {
  const int backing = check(open(file, O_RDWR | O_CLOEXEC), file);
  std::string node;
  for (;;) {
    node = folder + "/loop" + std::to_string(get_free(folder));
    const int device = check(open(node.c_str(), O_RDWR | O_CLOEXEC), node.c_str());
    loop_config config{};
    config.fd = static_cast<__u32>(backing);
    config.info.lo_flags = LO_FLAGS_DIRECT_IO;
    const int result = ioctl(device, LOOP_CONFIGURE, &config);
    if (result < 0 && errno != EBUSY) check(result, "LOOP_CONFIGURE");
    close(device);
    if (result >= 0) break;
  }
  close(backing);
  return node;
}

void detach(const std::string& node) {
  const int device = check(open(node.c_str(), O_RDONLY | O_CLOEXEC), node.c_str());
  check(ioctl(device, LOOP_CLR_FD), "LOOP_CLR_FD");
  close(device);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "free") == 0) {
    std::printf("%d\n", get_free(argv[2]));
    return 0;
  }
  if (argc != 5) return 2;
  const bool cycle = std::strcmp(argv[1], "cycle") == 0;
  for (int i = 0; i < std::atoi(argv[4]); ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::string node = attach(argv[2], argv[3]);
    if (cycle) detach(node);
    const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
    std::printf("%.1f\n", taken.count());
  }
}
