// Processes in whose name requests come: they sleep, and have nothing but what the harness gives them.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "lying_caller.h"

namespace loopfs::fuzz {

// One that sleeps in pause(2), and one in open(2). Their memory at kAddress is shared with us, their descriptors are
// those of `files` by the numbers that they have here. They end with this process.
class Dummies {
 public:
  static constexpr uint64_t kAddress = 0x10000000;
  static constexpr size_t kSize = 64 << 10;

  explicit Dummies(const Files& files) {
    (void)files.at(Files::kImages);  // all are open by now, so that the children have them
    memory_ = ::mmap(reinterpret_cast<void*>(kAddress), kSize, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    FUZZ_CHECK(memory_ == reinterpret_cast<void*>(kAddress));
    char folder[] = "/tmp/loopfs-fuzz-XXXXXX";
    FUZZ_CHECK(::mkdtemp(folder) != nullptr);
    const std::string fifo = std::string(folder) + "/fifo";
    FUZZ_CHECK(::mkfifo(fifo.c_str(), 0600) == 0);
    pids_[0] = start("");
    pids_[1] = start(fifo.c_str());
    wait_for_open();
    ::unlink(fifo.c_str());
    ::rmdir(folder);
  }

  pid_t pid(size_t index) const { return pids_[index % pids_.size()]; }
  std::span<std::byte> memory() const { return {static_cast<std::byte*>(memory_), kSize}; }

 private:
  // In the child: nothing that takes a lock.
  static pid_t start(const char* fifo) {
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    FUZZ_CHECK(pid >= 0);
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "fuzz-dummy");
    if (::getppid() != parent) ::_exit(0);
    for (;;) {
      if (*fifo != '\0') (void)!::open(fifo, O_RDONLY | O_CLOEXEC);  // nobody ever opens it for writing
      ::pause();
    }
  }

  // Until the second one sleeps where it is to: its FIFO goes after that.
  void wait_for_open() const {
    const std::string path = fmt::format("/proc/{}/syscall", pids_[1]);
    const std::string wanted = "257 ";  // openat(2) of x86-64; on others, whatever comes first
    for (int tries = 0; tries < 1000; ++tries) {
      char line[16] = {};
      const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (::read(file.get(), line, sizeof line - 1) > 0 && std::string(line).starts_with(wanted)) return;
      ::usleep(1000);
    }
  }

  void* memory_ = nullptr;
  std::array<pid_t, 2> pids_{};
};

}  // namespace loopfs::fuzz
