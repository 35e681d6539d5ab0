// A FUSE server of one file, "f", in a process of its own: a program that holds a file of its own server's cannot be killed.
#pragma once

#include <linux/fuse.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include <atomic>
#include <new>
#include <string>

#include "attack.h"

// It answers, until it is mute, what is needed to open "f"; what it does not know it says ENOSYS to.
struct Fuse {
  // Of both processes.
  struct Shared {
    std::atomic<uint32_t> kept{0};  // requests of this kind get no answer
    std::atomic<bool> mute{false};
    std::atomic<unsigned> asked{0};  // what was kept waiting
  };
  Shared& shared =
      *new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
  int channel = -1;  // of the server's process only, once that runs
  pid_t server = -1;
  std::string place;

  void answer(uint64_t unique, int error, const void* body, size_t size) const {
    fuse_out_header head = {};
    head.len = static_cast<uint32_t>(sizeof head + size);
    head.error = -error;
    head.unique = unique;
    std::string all(reinterpret_cast<const char*>(&head), sizeof head);
    if (size > 0) all.append(static_cast<const char*>(body), size);
    (void)!write(channel, all.data(), all.size());
  }

  static fuse_attr attributes(uint64_t inode) {
    fuse_attr attr = {};
    attr.ino = inode;
    attr.mode = inode == 1 ? S_IFDIR | 0755 : S_IFREG | 0666;
    attr.nlink = 1;
    attr.size = 65536;
    attr.blocks = 128;
    attr.blksize = 4096;
    return attr;
  }

  void serve() {
    alignas(8) static char buffer[1 << 20];
    for (;;) {
      const ssize_t length = read(channel, buffer, sizeof buffer);
      if (length < 0 && (errno == EINTR || errno == ENOENT)) continue;
      if (length < static_cast<ssize_t>(sizeof(fuse_in_header))) return;
      fuse_in_header head;
      memcpy(&head, buffer, sizeof head);
      if (shared.mute) continue;  // and nobody hears of it again
      if (head.opcode == FUSE_INIT) {
        fuse_init_out out = {};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = 31;
        out.max_write = 65536;
        answer(head.unique, 0, &out, 64);
      } else if (head.opcode == FUSE_LOOKUP) {
        fuse_entry_out out = {};
        out.nodeid = 2;
        out.attr = attributes(2);
        answer(head.unique, 0, &out, sizeof out);
      } else if (head.opcode == FUSE_GETATTR) {
        fuse_attr_out out = {};
        out.attr = attributes(head.nodeid);
        answer(head.unique, 0, &out, sizeof out);
      } else if (head.opcode == FUSE_OPEN || head.opcode == FUSE_OPENDIR) {
        fuse_open_out out = {};
        answer(head.unique, 0, &out, sizeof out);
      } else if (head.opcode == FUSE_STATFS) {
        fuse_statfs_out out = {};
        out.st.bsize = out.st.frsize = 4096;
        out.st.namelen = 255;
        answer(head.unique, 0, &out, sizeof out);
      } else if (head.opcode == FUSE_READ && shared.kept != FUSE_READ) {
        static const char zeros[65536] = {};
        fuse_read_in in;
        memcpy(&in, buffer + sizeof head, sizeof in);
        answer(head.unique, 0, zeros, in.size < sizeof zeros ? in.size : sizeof zeros);
      } else if (head.opcode == shared.kept) {
        ++shared.asked;
      } else if (head.opcode != FUSE_FORGET && head.opcode != FUSE_BATCH_FORGET) {
        answer(head.unique, ENOSYS, nullptr, 0);
      }
    }
  }

  bool start(const std::string& where) {
    place = where;
    mkdir(place.c_str(), 0755);
    channel = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (channel < 0) return false;
    const std::string options = "fd=" + std::to_string(channel) + ",rootmode=40000,user_id=0,group_id=0";
    if (mount("bad", place.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) return false;
    server = fork();
    if (server == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      serve();
      _exit(0);
    }
    close(channel);
    return true;
  }
};
