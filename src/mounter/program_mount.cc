#include "mounter/program_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "mounter/fuse_request.h"
#include "mounter/image.h"
#include "mounter/minimal_root.h"
#include "mounter/program.h"
#include "sys/mount_api.h"
#include "sys/namespace.h"
#include "sys/pidfd.h"
#include "sys/process.h"
#include "sys/remote_memory.h"
#include "sys/seccomp.h"

namespace loopfs::mounter {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostMountData = 4096;

class ProgramMount {
 public:
  ProgramMount(const Request& request, const CallerSide& caller) : request_(request), caller_(caller) {}

  Outcome run() {
    // The program wants the host's files, the target the caller's: a child looks at the caller's side first.
    auto image = open_image(request_, caller_);
    if (!image) return failed(image.error());
    if (auto checked = check_image(request_, caller_, *image); !checked) return failed(checked.error());
    if (request_.executable.empty()) return failed({EPERM, ""});  // the right type, but nobody to serve it
    auto program = launch_program(launch_of(*image));
    if (!program)
      return failed({EIO, ""}, fmt::format("{}: {}", request_.command.front(), program.error().message()));
    Outcome outcome = mount_program(*program);
    if (outcome.reply.error != 0) {
      (void)sys::send_signal(program->pidfd.get(), SIGKILL);
      pollfd gone{program->pidfd.get(), POLLIN,
                  0};  // the device is held for it no longer than we are at work
      (void)::poll(&gone, 1, 1000 * kSecondsToStart);
    }
    return outcome;
  }

 private:
  ProgramLaunch launch_of(const Image& image) const {
    std::vector<std::string> options = request_.options;
    if (image.offset != 0) {
      std::string option = request_.offset_option;
      const size_t at = option.find("{offset}");
      if (at != std::string::npos) option.replace(at, 8, std::to_string(image.offset));
      options.push_back(option);
    }
    std::string joined;
    for (const auto& option : options) joined += (joined.empty() ? "" : ",") + option;
    ProgramLaunch launch{.executable = request_.executable,
                         .image = image.fd,
                         .image_end = image.offset + image.size,
                         .user_namespace = caller_.fd(kUserNamespace)};
    for (const auto& word : request_.command) {
      if (word == "{image}") {
        launch.arguments.emplace_back(kImagePath);
      } else if (word == "{mountpoint}") {
        launch.arguments.emplace_back(kMountPoint);
      } else if (word == "{options}") {
        if (!joined.empty()) {
          launch.arguments.push_back(joined);
        } else if (!launch.arguments.empty() && launch.arguments.back() == "-o") {
          launch.arguments.pop_back();
        }
      } else {
        launch.arguments.push_back(word);
      }
    }
    return launch;
  }

  // 0: readable. ETIMEDOUT, or EPIPE if the program ended first.
  static int wait_for(int wanted, const RunningProgram& program, Clock::time_point deadline) {
    pollfd waits[] = {{wanted, POLLIN, 0}, {program.pidfd.get(), POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int ready = ::poll(waits, 2, static_cast<int>(std::max<long>(left, 0)));
    if (ready <= 0) return ETIMEDOUT;
    return (waits[0].revents & POLLIN) != 0 ? 0 : EPIPE;
  }

  Outcome program_failed(const RunningProgram& program, int code) const {
    const std::string name = request_.command.front();
    if (code == ETIMEDOUT) {
      return failed({EIO, ""}, fmt::format("mount {}: {} gave no answer in {} s", request_.source, name,
                                           kSecondsToStart));
    }
    const std::string words = telling_line(output_of(program.errors.get()), request_.source);
    return failed({EUCLEAN, ""}, fmt::format("mount {}: {} refused the image: {}", request_.source, name,
                                             words.empty() ? "it gave no reason" : words));
  }

  // The program is started; the rest happens in the caller's namespaces.
  Outcome mount_program(const RunningProgram& program) {
    const auto deadline = Clock::now() + std::chrono::seconds(kSecondsToStart);
    if (const int code = wait_for(program.listener.get(), program, deadline); code != 0)
      return program_failed(program, code);
    auto asked = sys::receive_notification(program.listener.get());
    if (!asked || !*asked) return program_failed(program, EPIPE);
    if (auto entered = caller_.enter(); !entered) return failed(entered.error());
    auto target = caller_.open_target();
    if (!target) return failed(target.error());
    auto fuse = request_of(program, **asked);
    if (!fuse) return failed({EIO, ""}, fuse.error().message());
    auto mounted = make_fuse_mount(request_, *fuse);
    if (!mounted) return failed({mounted.error().code, ""}, mounted.error().message());
    if (auto answered = sys::answer_notification(program.listener.get(), (*asked)->id, 0); !answered) {
      return failed(answered.error());
    }
    if (const int code = wait_until_it_answers(*mounted, fuse->channel, program, deadline); code != 0)
      return program_failed(program, code);
    auto device = sys::device_of_mount(mounted->get());
    if (!device) return failed(device.error());
    if (request_.replace) {
      // The old program would go on serving the other mounts, from an image that changes.
      if (caller_.mount_points_of(request_.device).size() > 1)
        return failed({EBUSY, "mounted elsewhere too"});
      target->reset();  // it would make the mount busy
      if (::umount2(request_.path.c_str(), 0) != 0) return failed({errno, "umount2"});
      target = caller_.open_target();  // what was below the old mount
    }
    if (!target) return failed(target.error());
    if (auto attached = caller_.attach(mounted->get(), *target); !attached) return failed(attached.error());
    Outcome outcome = done({.device = *device});
    outcome.fds.emplace_back(::fcntl(program.pidfd.get(), F_DUPFD_CLOEXEC, 0));
    outcome.fds.push_back(std::move(fuse->channel));
    return outcome;
  }

  Result<FuseRequest> request_of(const RunningProgram& program, const sys::Notification& asked) const {
    auto data = sys::read_string(asked.tid, asked.arguments[4], kMostMountData);
    if (!data) return propagate(data);
    FuseRequest request = fuse_of(*data);
    auto channel = sys::take_fd(program.pidfd.get(), request.number);
    if (!channel) return propagate(channel, "{}: its mount(2) has no /dev/fuse", request_.command.front());
    request.channel = std::move(*channel);
    return request;
  }

  // A child asks the file system for its root, and may hang there; we do not.
  int wait_until_it_answers(const Fd& mounted, Fd& channel, const RunningProgram& program,
                            Clock::time_point deadline) const {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    const Fd ready(ends[0]);
    Fd report(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) return errno;
    if (child == 0) {
      (void)sys::die_with_parent();
      channel.reset();
      struct statx status;
      const bool answered =
          ::statx(mounted.get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) == 0;
      if (answered) (void)!::write(report.get(), "y", 1);
      ::_exit(0);
    }
    report.reset();
    int code = wait_for(ready.get(), program, deadline);
    char yes = 0;
    if (code == 0 && ::read(ready.get(), &yes, 1) != 1) code = EPIPE;
    if (code != 0) {
      // What lets a child go that still waits is the end of the connection: no descriptor of it may stay.
      (void)sys::send_signal(program.pidfd.get(), SIGKILL);
      channel.reset();
      ::kill(child, SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    return code;
  }

  const Request& request_;
  const CallerSide& caller_;
};

}  // namespace

Outcome mount_by_program(const Request& request, const CallerSide& caller) {
  return ProgramMount(request, caller).run();
}

}  // namespace loopfs::mounter
