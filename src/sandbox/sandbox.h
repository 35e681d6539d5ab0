// The sandbox of `loopfs run`: its namespaces, its /dev with an empty instance, its first process.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::sandbox {

// A file or directory of the host that the sandbox sees at another place too.
struct Bind {
  std::string source;       // as the caller names it, relative to the caller's working directory
  std::string destination;  // in the sandbox; absolute
  bool operator==(const Bind&) const = default;
};

// An entry of the view's root directory and the place in the sandbox that it covers.
struct ViewMount {
  std::string name;
  std::string target;
};

// An instance that another process serves.
struct InstanceMount {
  uint64_t id = 0;
  Fd mount;  // detached
};

struct Options {
  std::vector<std::string> command;  // argv; looked up in PATH inside the sandbox
  std::string root;                  // directory that becomes "/"; empty: the caller's file system
  std::vector<Bind> binds;
  std::vector<ViewMount> views;  // targets that do not exist are left out
  unsigned channels = 8;         // /dev/fuse descriptors of the instance, one a server thread
  unsigned view_channels = 2;

  // Makes the instance; runs as root of the sandbox's user namespace, in a process of its own. Unset: the
  // instance is to be served through take_instance_channels().
  std::function<Result<InstanceMount>()> mount_instance;

  // Installs the seccomp filter on the calling thread and returns its listener. Runs in the sandbox's first
  // process, single-threaded. EBUSY: another listener is in charge. Unset: no filter.
  std::function<Result<Fd>()> install_filter;

  // Takes one line for the user, without a newline ("newuidmap failed: ..."). May be unset.
  std::function<void(const std::string&)> report;
};

struct State;

// Owns the sandbox's first process (pid 1 of its pid namespace) and with it everything in the sandbox. If
// this object or the whole process goes, by SIGKILL too, the kernel ends them all.
// Not thread-safe: one thread, the one that called prepare(), uses it; it must live as long as the sandbox
// (the sandbox dies with that thread).
//
// prepare() blocks the signals that wait() forwards (and SIGTSTP, SIGTTIN, SIGTTOU) in the calling thread, so
// threads started later do not get them. The command starts with the mask and the dispositions that the
// caller had at prepare(). Until it has started, a signal that means "end" ends this process, as it would any other,
// in whichever function is running; the sandbox goes with it. The signals stay blocked after wait(): one that comes late
// must not replace the command's exit status.
class Sandbox {
 public:
  // Forks; the process must be single-threaded. When it returns the namespaces, the id maps and both FUSE mounts exist,
  // and the instance waits for its server, to become /dev.
  static Result<std::unique_ptr<Sandbox>> prepare(Options options);
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // The servers' ends of the two FUSE mounts. The first is the one that was mounted, the others are its clones.
  std::vector<Fd> take_instance_channels();
  std::vector<Fd> take_view_channels();

  int dev_directory() const;      // the sandbox's /dev, which is the instance; O_PATH, borrowed
  int user_namespace() const;     // borrowed
  int init_pidfd() const;         // borrowed
  dev_t instance_device() const;  // st_dev of everything in the instance
  uint64_t instance_id() const;   // of InstanceMount

  // Returns when the sandbox has its /dev and its first process. The instance's server must be running; nothing of the
  // views is attached and the command does not run yet.
  Result<void> finish_setup();

  // Covers the places in Options::views. The view's server must be running.
  Result<void> attach_views();

  // Installs the filter in the sandbox. None: there is another listener, or no filter was asked for.
  Result<std::optional<Fd>> take_listener();

  Result<void> start_command();

  // Forwards signals, stops and continues with the command, and returns its exit status, 128+n for a signal,
  // 127 and 126 if it could not be started (a line on stderr says why).
  Result<int> wait();

 private:
  explicit Sandbox(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace loopfs::sandbox
