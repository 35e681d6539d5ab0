// Runs a program as the root of a container: container UID|host PROGRAM [ARG...]
//
// New mount, PID and IPC namespaces, and unless "host" is said a user namespace whose ids 0 to 65535 are UID and up
// outside. SIGKILL to this process is SIGKILL to all of the container. Prints nothing; its status is the program's.
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "attack.h"

static void write_map(pid_t pid, const char* name, const char* first) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  const std::string text = std::string("0 ") + first + " 65536\n";
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    broken("write %s", path.c_str());
  close(fd);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const bool user = strcmp(argv[1], "host") != 0;
  int ready[2], mapped[2];
  if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(mapped, O_CLOEXEC) != 0) broken("pipe");
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char byte = 0;
    if (unshare((user ? CLONE_NEWUSER : 0) | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC) != 0)
      broken("unshare");
    if (write(ready[1], "", 1) != 1 || read(mapped[0], &byte, 1) != 1) _exit(1);
    if (user && (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)) broken("become root");
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // forgotten when the ids changed
    const pid_t init = fork();
    if (init == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) broken("make / private");
      if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
        broken("mount /proc");
      prctl(PR_SET_DUMPABLE, 1);
      execvp(argv[2], argv + 2);
      broken("exec %s", argv[2]);
    }
    int status = 0;
    waitpid(init, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  char byte = 0;
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) return 1;
  if (user) {
    write_map(child, "uid_map", argv[1]);
    write_map(child, "gid_map", argv[1]);
  }
  if (write(mapped[1], "", 1) != 1) return 1;
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
