// Descriptors that nobody asked for: files of a FUSE file system of the container's own, whose server answers nothing any more,
// are sent to the daemon with requests. Whoever closes one waits for that server. They stay where they are until standard
// input ends.
//   sent_descriptors SOCKET FOLDER COUNT
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fuse_server.h"

namespace {

int connect_to(const char* path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    broken("connect %s", path);
  return fd;
}

bool send_with(int socket, const void* bytes, size_t size, int fd, int flags) {
  iovec vector = {const_cast<void*>(bytes), size};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fd)] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  return sendmsg(socket, &message, MSG_NOSIGNAL | flags) > 0;
}

// With a whole request, with half of one that never ends, out of band, and as what is left when the sender goes.
void send_all(const char* path, int file, int count) {
  static constexpr char kRequest[] = R"({"method":"org.varlink.service.GetInfo"})";
  int sent = 0;
  for (int i = 0; i < count; ++i) {
    sent += send_with(connect_to(path), kRequest, sizeof kRequest, file, 0);
    sent += send_with(connect_to(path), kRequest, 5, file, 0);
    sent += send_with(connect_to(path), " ", 1, file, MSG_OOB);
    const int left = connect_to(path);
    if (write(left, kRequest, sizeof kRequest) < 0) broken("write");
    sent += send_with(left, kRequest, sizeof kRequest, file, 0);
    close(left);
  }
  printf("sent_descriptors: %d of %d were let in\n", sent, 4 * count);
  fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  // A process that has no file of it open is its server: with that its connection ends, and whoever waits for it.
  static Fuse fuse;
  int go[2];
  if (pipe2(go, O_CLOEXEC) != 0) broken("pipe");
  const pid_t sender = fork();
  if (sender == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char byte;
    if (read(go[0], &byte, 1) != 1) _exit(1);
    const int file = open((std::string(argv[2]) + "/fuse/f").c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) broken("open a file of the FUSE server's own");
    if (kill(getppid(), SIGUSR1) != 0) broken("kill");
    if (read(go[0], &byte, 1) != 1) _exit(1);
    send_all(argv[1], file, atoi(argv[3]));
    for (;;) pause();
  }
  sigset_t opened;
  sigemptyset(&opened);
  sigaddset(&opened, SIGUSR1);
  sigprocmask(SIG_BLOCK, &opened, nullptr);
  if (!fuse.start(std::string(argv[2]) + "/fuse")) cannot("no FUSE here");
  int signal = 0;
  if (write(go[1], "", 1) != 1 || sigwait(&opened, &signal) != 0) broken("start the sender");
  fuse.shared.mute = true;
  if (write(go[1], "", 1) != 1) broken("start the sender");
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  kill(fuse.server, SIGKILL);
  umount2(fuse.place.c_str(), MNT_FORCE);
  kill(sender, SIGKILL);
  _exit(0);
}
