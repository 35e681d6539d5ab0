// Descriptors that one container passes to another by a socket. The receiver may do with them what they are open for, and
// nothing for which the instance wants CAP_SYS_ADMIN of its own user namespace; its descriptors are its own.
//   passed_fds give DIRECTORY SOCKET FILE      binds loop1 to FILE, and gives loop-control, loop0, loop1, the directory
//   passed_fds take SOCKET FILE OWN            with a FILE of its own, which has the mark OWN
#include <sys/socket.h>
#include <sys/un.h>

#include "attack.h"

namespace {

constexpr int kCount = 5;

sockaddr_un address_of(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  return address;
}

int give(char** argv) {
  const std::string directory = argv[2];
  const int control = open((directory + "/loop-control").c_str(), O_RDWR | O_CLOEXEC);
  ioctl(control, LOOP_CTL_ADD, 1L);
  const int file = open(argv[4], O_RDWR | O_CLOEXEC);
  const int loop1 = open(node(directory, 1).c_str(), O_RDWR | O_CLOEXEC);
  if (configure(loop1, file) != 0) broken("LOOP_CONFIGURE of loop1");
  const int fds[kCount] = {control, open(node(directory, 0).c_str(), O_RDONLY | O_CLOEXEC), loop1,
                           open(node(directory, 1).c_str(), O_RDONLY | O_CLOEXEC),
                           open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  for (const int fd : fds) {
    if (fd < 0) broken("open what to give");
  }
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(argv[3]);
  unlink(argv[3]);
  if (bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(server, 1) != 0) {
    broken("listen at %s", argv[3]);
  }
  chmod(argv[3], 0666);
  const int peer = accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
  char byte = 0;
  iovec vector = {&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fds)] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fds);
  memcpy(CMSG_DATA(head), fds, sizeof fds);
  if (sendmsg(peer, &message, 0) != 1) broken("send the descriptors");
  if (read(peer, &byte, 1) != 1) broken("the receiver");
  const std::string mark = mark_of(loop1);
  ioctl(loop1, LOOP_CLR_FD);
  printf("passed_fds give: loop1 still shows '%s'\n", mark.c_str());
  return 0;
}

void refused(int answer, int wanted, const char* what) {
  if (answer == 0) leak("%s", what);
  if (errno != wanted) broken("%s: not %s", what, strerror(wanted));
}

int take(char** argv) {
  const int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(argv[2]);
  const double patience = now() + 20;
  while (connect(peer, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (now() > patience) broken("connect to %s", argv[2]);
    const timespec pause = {0, 20'000'000};
    nanosleep(&pause, nullptr);
  }
  char byte = 0;
  iovec vector = {&byte, 1};
  int fds[kCount];
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof fds)] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  if (recvmsg(peer, &message, MSG_CMSG_CLOEXEC) != 1) broken("receive the descriptors");
  memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
  const int control = fds[0], free_read_only = fds[1], file_like = fds[2], device = fds[3],
            directory = fds[4];
  const int own = open(argv[3], O_RDWR | O_CLOEXEC);
  if (own < 0) broken("open %s", argv[3]);

  int value = 1;
  refused(ioctl(file_like, BLKROSET, &value), EACCES, "BLKROSET with another namespace's CAP_SYS_ADMIN");
  refused(ioctl(file_like, BLKRASET, 4096L), EACCES, "BLKRASET with another namespace's CAP_SYS_ADMIN");
  refused(ioctl(file_like, BLKFLSBUF, 0L), EACCES, "BLKFLSBUF with another namespace's CAP_SYS_ADMIN");
  refused(ioctl(file_like, BLKRRPART, 0L), EACCES, "BLKRRPART with another namespace's CAP_SYS_ADMIN");
  refused(ioctl(device, BLKROSET, &value), EACCES, "BLKROSET of the device");
  refused(ioctl(device, BLKRRPART, 0L), EACCES, "BLKRRPART of the device");
  loop_info64 info = {};
  if (ioctl(device, LOOP_GET_STATUS64, &info) != 0) broken("LOOP_GET_STATUS64");
  refused(ioctl(device, LOOP_SET_STATUS64, &info), EPERM,
          "LOOP_SET_STATUS64 by a descriptor open for reading");
  if (pwrite(device, "x", 1, 0) == 1) leak("a write by a descriptor open for reading");
  // A number in the table of whoever calls: the giver's descriptor of that number is another file.
  for (int fd = 0; fd < 64; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    if (configure(free_read_only, fd) != EBADF) leak("descriptor %d of somebody else's was bound", fd);
  }
  if (const int error = configure(free_read_only, own))
    errno = error, broken("bind a file of one's own to a given node");
  const std::string mark = mark_of(free_read_only);
  if (mark != argv[4]) leak("the given node shows '%s', not one's own file", mark.c_str());
  ioctl(free_read_only, LOOP_CLR_FD);
  // The nodes are 0600 and the giver's; the directory gives nothing that its permissions do not.
  const int opened = openat(directory, "loop1", O_RDONLY | O_CLOEXEC);
  if (opened >= 0) leak("a node of mode 0600 was opened by a stranger");
  if (faccessat(directory, "loop1", R_OK, 0) == 0) leak("a node of mode 0600 may be read by a stranger");
  const int made = ioctl(control, LOOP_CTL_GET_FREE);
  if (made >= 4096) leak("GET_FREE gave %d", made);
  if (write(peer, "", 1) != 1) broken("say so");
  printf(
      "passed_fds take: privileged ioctls refused, numbers are the caller's own, nodes keep their "
      "permissions\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  return strcmp(argv[1], "give") == 0 ? give(argv) : take(argv);
}
