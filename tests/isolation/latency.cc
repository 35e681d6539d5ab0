// How long another instance takes to answer while somebody attacks the daemon.
//   latency DIRECTORY FILE SECONDS LIMIT_MS
// Every 20 ms: GET_FREE, stat, open, bind, read, clear. At most one round in twenty may take longer than the limit (the
// processors are somebody else's too), and none ten times as long. Binding is work of the kernel's own, for which it
// waits until all processors have passed a quiet point: five times the limit is allowed for that.
// What the machine itself needs meanwhile to hand over between two threads as often as a round does comes on top, so that a
// machine that is slow or busy is not taken for a daemon that is.
#include <algorithm>
#include <thread>
#include <vector>

#include "attack.h"

namespace {

// A thread that sends back what it is sent.
class Partner {
 public:
  Partner() {
    if (pipe2(there_, O_CLOEXEC) != 0 || pipe2(back_, O_CLOEXEC) != 0) broken("pipe");
    thread_ = std::thread([this] {
      char byte;
      while (read(there_[0], &byte, 1) == 1 && write(back_[1], &byte, 1) == 1) {
      }
    });
  }
  ~Partner() {
    close(there_[1]);
    thread_.join();
  }
  // Seconds for as many exchanges as a round has requests.
  double exchange() const {
    const double begin = now();
    for (int i = 0; i < 12; ++i) {
      char byte = 0;
      if (write(there_[1], &byte, 1) != 1 || read(back_[0], &byte, 1) != 1) broken("exchange a byte");
    }
    return now() - begin;
  }

 private:
  int there_[2], back_[2];
  std::thread thread_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string directory = argv[1], loop0 = node(directory, 0);
  const int control = open((directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  const int file = open(argv[2], O_RDWR | O_CLOEXEC);
  if (control < 0 || file < 0 || ioctl(control, LOOP_CTL_GET_FREE) < 0)
    broken("open loop-control and %s", argv[2]);
  const double end = now() + atof(argv[3]), limit = atof(argv[4]) / 1e3;
  std::vector<double> answers, binds, exchanges;
  const Partner partner;
  while (now() < end) {
    const double begin = now();
    double binding = 0;
    struct stat status;
    ioctl(control, LOOP_CTL_GET_FREE);
    if (stat(loop0.c_str(), &status) != 0) broken("stat %s", loop0.c_str());
    const int loop = open(loop0.c_str(), O_RDWR | O_CLOEXEC);
    if (loop < 0) broken("open %s", loop0.c_str());
    if (!is_block(loop)) {
      const double before = now();
      if (const int error = configure(loop, file)) errno = error, broken("LOOP_CONFIGURE");
      binding = now() - before;
      binds.push_back(binding);
      if (mark_of(loop).empty()) broken("read %s", loop0.c_str());
    }
    if (ioctl(loop, LOOP_CLR_FD) != 0) broken("LOOP_CLR_FD");
    close(loop);
    answers.push_back(now() - begin - binding);
    exchanges.push_back(partner.exchange());
    const timespec pause = {0, 20'000'000};
    nanosleep(&pause, nullptr);
  }
  if (binds.empty()) broken("nothing was bound");
  std::sort(answers.begin(), answers.end());
  std::sort(binds.begin(), binds.end());
  std::sort(exchanges.begin(), exchanges.end());
  const auto part = [](const std::vector<double>& times, size_t percent) {
    return times[times.size() * percent / 100];
  };
  const double late = part(answers, 95), most = answers.back();
  const double machine = 2 * part(exchanges, 95), machine_most = 2 * exchanges.back();
  printf(
      "latency: %zu rounds: median %.1f ms, 95%% in %.1f ms, all in %.1f ms; binding: %.1f, %.1f, %.1f ms; "
      "the "
      "machine: %.1f, %.1f ms\n",
      answers.size(), part(answers, 50) * 1e3, late * 1e3, most * 1e3, part(binds, 50) * 1e3,
      part(binds, 95) * 1e3, binds.back() * 1e3, part(exchanges, 95) * 1e3, exchanges.back() * 1e3);
  if (late > limit + machine || most > limit * 10 + machine_most || part(binds, 95) > limit * 5 + machine) {
    printf("FAILED: not within %s ms\n", argv[4]);
    return 1;
  }
  return 0;
}
