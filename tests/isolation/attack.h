// What the hostile programs share. A program prints one line and ends with 0 (nothing leaked), 1 (a leak, or a
// promise that was not kept) or 77 (cannot be tried here).
//
// Backing files are filled with the mark of their owner, "<owner>;" over and over. Owners of files that the
// program itself has bound start with its own prefix; whoever reads another's mark has found a leak.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <string>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

constexpr unsigned kFirstDevice = 400000;  // of the daemon: kernel_isolation.sh

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void leak(const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  dprintf(1, "LEAK: %s\n", text);
  _exit(1);
}

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void broken(const char* format, ...) {
  const int error = errno;
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  dprintf(1, "FAILED: %s (%s)\n", text, strerror(error));
  _exit(1);
}

[[noreturn]] inline void cannot(const char* why) {
  printf("cannot be tried here: %s\n", why);
  exit(77);
}

// Whether a 64-bit program may enter the kernel as one of i386. A kernel that was built or started without (ia32_emulation=0),
// and some virtual machines, answer with SIGSEGV; a child finds out.
inline bool has_old_entry() {
#ifdef __x86_64__
  const pid_t child = fork();
  if (child < 0) broken("fork");
  if (child == 0) {
    const rlimit none = {};
    setrlimit(RLIMIT_CORE, &none);
    for (const int signal : {SIGSEGV, SIGILL, SIGSYS}) ::signal(signal, SIG_DFL);
    long answer = 0;
    asm volatile("int $0x80" : "=a"(answer) : "a"(20) : "memory", "r8", "r9", "r10", "r11");  // getpid
    _exit(answer == getpid() ? 0 : 1);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) broken("wait for a child");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
#endif
  dprintf(1, "int 0x80 is not to be had here: left out\n");
  return false;
}

inline double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// What the inode is, without asking the server: that may say ESTALE of what is open all the same.
struct Kind {
  bool block;
  unsigned major, minor;
};

inline Kind kind_of(int fd) {
  struct statx status;
  if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) return {};
  return {S_ISBLK(status.stx_mode), status.stx_rdev_major, status.stx_rdev_minor};
}

inline bool is_block(int fd) {
  return kind_of(fd).block;
}

// LOOP_CONFIGURE. 0 or an errno.
inline int configure(int loop, int file, unsigned flags = 0) {
  loop_config config = {};
  config.fd = static_cast<uint32_t>(file);
  config.info.lo_flags = flags;
  return ioctl(loop, LOOP_CONFIGURE, &config) == 0 ? 0 : errno;
}

inline std::string node(const std::string& directory, unsigned number) {
  return directory + "/loop" + std::to_string(number);
}

inline bool starts_with(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// The mark at the start of an open device or file; empty: nothing can be read.
inline std::string mark_of(int fd) {
  alignas(512) char text[512];
  const ssize_t length = pread(fd, text, sizeof text, 0);
  if (length <= 0) return "";
  const std::string shown(text, static_cast<size_t>(length));
  const size_t end = shown.find(';');
  return end == std::string::npos ? "?" : shown.substr(0, end);
}

// What an open descriptor of a node may be: a file of the instance's server; or a kernel device of the daemon's
// that is bound to a file with our mark, and stays what it is while it is open.
//
// A device in rundown (LOOP_CLR_FD came between the open and now) answers ENXIO to LOOP_GET_STATUS64, as an
// unbound one does. They are told apart by the size: the kernel sets it to 0 when it unbinds, at the last close,
// and the device would be anybody's from then on.
enum class Seen { kFile, kBound, kRundown };

inline Seen check_open(int fd, const std::string& own, const char* way) {
  const Kind kind = kind_of(fd);
  if (!kind.block) return Seen::kFile;
  uint64_t before = 0, after = 0, size = 0;
  if (ioctl(fd, BLKGETDISKSEQ, &before) != 0) leak("%s: a block device that has no sequence number", way);
  const unsigned device = kind.minor;
  if (kind.major == 7 && device < kFirstDevice) leak("%s: the host's loop%u", way, device);
  const std::string mark = mark_of(fd);
  if (!mark.empty() && !starts_with(mark, own)) {
    leak("%s: read the mark '%.40s' of loop%u, own is '%s'", way, mark.c_str(), device, own.c_str());
  }
  loop_info64 info;
  const int status_error = ioctl(fd, LOOP_GET_STATUS64, &info) == 0 ? 0 : errno;
  if (ioctl(fd, BLKGETSIZE64, &size) != 0 || size == 0) leak("%s: loop%u is open and unbound", way, device);
  if (ioctl(fd, BLKGETDISKSEQ, &after) != 0 || after != before)
    leak("%s: loop%u was bound anew while it was open", way, device);
  if (status_error != 0 && status_error != ENXIO)
    leak("%s: LOOP_GET_STATUS64: %s", way, strerror(status_error));
  return status_error == 0 ? Seen::kBound : Seen::kRundown;
}
