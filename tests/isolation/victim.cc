// The victim: a program of the host that binds the host's loop devices and unbinds them again as fast as it can.
//   victim FILE OWNER SECONDS
// Its devices must be its own all the time, and their numbers below the daemon's.
#include <sys/file.h>

#include "attack.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = open(argv[1], O_RDWR | O_CLOEXEC);
  if (control < 0 || file < 0) broken("open /dev/loop-control or %s", argv[1]);
  const double end = now() + atof(argv[3]);
  unsigned long rounds = 0, taken = 0;
  while (now() < end) {
    const int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) broken("LOOP_CTL_GET_FREE");
    if (static_cast<unsigned>(number) >= kFirstDevice)
      leak("the host was offered loop%d, which is the daemon's", number);
    const int loop = open(node("/dev", static_cast<unsigned>(number)).c_str(), O_RDWR | O_CLOEXEC);
    if (loop < 0) {
      ++taken;
      continue;
    }
    const int error = configure(loop, file);
    if (error == 0) {
      ++rounds;
      const std::string mark = mark_of(loop);
      if (mark != argv[2]) leak("the victim's loop%d shows '%s'", number, mark.c_str());
      if (ioctl(loop, LOOP_CLR_FD) != 0) broken("LOOP_CLR_FD of loop%d", number);
    } else if (error == EBUSY) {
      ++taken;
    } else {
      errno = error;
      broken("LOOP_CONFIGURE of loop%d", number);
    }
    close(loop);
  }
  printf("victim: %lu devices of the host, %lu were somebody else's first\n", rounds, taken);
  return rounds > 0 ? 0 : 1;
}
