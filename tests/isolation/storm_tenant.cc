// One of the tenants of tests/system/storm.sh: mounts an instance, opens its free devices over and over, binds some, and
// uses all of that until it is killed.
//   storm_tenant MOUNT.LOOPFS SOCKET OPENS
// In a mount namespace of its own, and in a folder of its own. Says "ready" when it has begun to use it.
#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>
#include <vector>

#include "attack.h"

namespace {

constexpr unsigned kDevices = 8;
constexpr unsigned kBound = 2;  // loop0 and loop1 stay bound; loop2 is bound and freed; the others stay free
const std::string kDirectory = "instance";

void mount_instance(const char* program, const char* socket) {
  mkdir(kDirectory.c_str(), 0755);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const std::string options = "max=" + std::to_string(kDevices) + ",socket=" + socket;
    execl(program, program, "none", kDirectory.c_str(), "-o", options.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) broken("%s ended with %#x", program, status);
}

int make_file(const char* name) {
  const int file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, 1 << 20) != 0) broken("make '%s'", name);
  return file;
}

// Whatever comes of it: the server may be killed at any time, and the instance may be gone.
void use(unsigned which, int file) {
  std::string bytes(16384, 'x');
  for (unsigned round = 0;; ++round) {
    const unsigned number = which == 0 ? kBound : round % kDevices;
    const int loop = open(node(kDirectory, number).c_str(), O_RDWR | O_CLOEXEC);
    if (loop < 0) continue;
    if (which == 0) {
      (void)configure(loop, file);
      ioctl(loop, LOOP_CLR_FD, 0);
    } else if (which == 1) {
      DIR* stream = opendir(kDirectory.c_str());
      while (stream != nullptr && readdir(stream) != nullptr) continue;
      if (stream != nullptr) closedir(stream);
    } else {
      (void)!pread(loop, bytes.data(), bytes.size(), 0);
      (void)!pwrite(loop, bytes.data(), bytes.size(), 0);
      loop_info64 info = {};
      ioctl(loop, LOOP_GET_STATUS64, &info);
      fsync(loop);
    }
    close(loop);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  mount_instance(argv[1], argv[2]);
  const int control = open((kDirectory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  if (control < 0) broken("open loop-control");
  for (unsigned i = 0; i < kDevices; ++i) {
    if (ioctl(control, LOOP_CTL_ADD, i) < 0 && errno != EEXIST) broken("add loop%u", i);
  }
  const int opens = atoi(argv[3]);
  for (int i = 0; i < opens; ++i) {
    const unsigned number = kBound + 1 + static_cast<unsigned>(i) % (kDevices - kBound - 1);
    if (open(node(kDirectory, number).c_str(), O_RDWR | O_CLOEXEC) < 0) broken("open loop%u", number);
  }
  for (unsigned i = 0; i < kBound; ++i) {
    const int file = make_file(("file" + std::to_string(i)).c_str());
    const int loop = open(node(kDirectory, i).c_str(), O_RDWR | O_CLOEXEC);
    if (loop < 0 || configure(loop, file) != 0) broken("bind loop%u", i);
  }
  const int file = make_file("other");
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(use, i, file);
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) return 1;
  for (std::thread& thread : threads) thread.join();
}
