// A FUSE program, confined, whose mount(2) comes to us.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::mounter {

inline constexpr const char* kImagePath = "/proc/self/fd/3";  // what a program gets as its device

struct ProgramLaunch {
  std::string executable;
  std::vector<std::string> arguments;  // argv; kImagePath and kMountPoint are good in it
  int image = -1;                      // borrowed
  uint64_t image_end = 0;              // byte behind which the program cannot write
  int user_namespace = -1;             // borrowed; the program runs as its root, without its capabilities
};

struct RunningProgram {
  Fd pidfd;
  Fd listener;  // its first mount(2) waits here
  Fd errors;    // what it wrote to stdout and stderr; non-blocking
};

// Starts the program as a child of the caller's parent: in namespaces of its own (mount, pid, network, ipc),
// in a minimal root, with no capability but CAP_DAC_OVERRIDE, with no_new_privs, and with a filter that
// refuses what no FUSE program needs. It dies with the caller's parent. The caller must be single-threaded
// and in the host's namespaces. Errors: of the step that failed, or of execve(2).
Result<RunningProgram> launch_program(const ProgramLaunch& launch);

// What the program has written so far, the last 64 KiB of it.
std::string output_of(int errors);

// The line that says best why a program gave up, at most 200 printable characters, with `source` for
// kImagePath.
std::string telling_line(const std::string& output, const std::string& source);

}  // namespace loopfs::mounter
