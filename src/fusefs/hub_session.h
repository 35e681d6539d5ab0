// A FUSE session of many in one process, and one that another process may go on with.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/threads.h"
#include "fusefs/hub.h"
#include "fusefs/session.h"

namespace loopfs::fusefs {

// Owns the channel. Requests are read by the hub and served on the lane.
class HubSession final : public Session {
 public:
  struct Options {
    Hub* hub = nullptr;  // borrowed
    std::shared_ptr<base::Lane> lane;
    // FUSE_INIT of a session that an earlier process has begun; empty for a new one.
    std::vector<std::byte> begun_with;
    std::function<void(std::span<const std::byte>)> on_begin;  // FUSE_INIT, for whoever goes on after us
    std::function<void()> on_gone;                             // the mount is no more; on the lane
  };
  // `channel`: /dev/fuse, mounted. `userdata` is what fuse_req_userdata() gives.
  static Result<std::unique_ptr<HubSession>> create(const fuse_lowlevel_ops& operations, void* userdata,
                                                    Fd channel, Options options);
  ~HubSession() { stop(); }

  // Errors: those of Hub::add.
  Result<void> start();

  // Nothing more is read. The lane, which may still be serving, must be drained before the session is destroyed.
  void stop();

 private:
  HubSession(Fd channel, Options options) : channel_(std::move(channel)), options_(std::move(options)) {}
  void process(std::span<std::byte> request);
  // Makes libfuse, and our own operations, know what was agreed on with the kernel, and has the kernel send again
  // what was read and not answered.
  void resume();
  // FUSE_INIT once more, after resume(). False: it is the first.
  bool begin_again(uint64_t unique);

  const Fd channel_;
  Options options_;
  std::vector<std::byte> begun_reply_;  // to options_.begun_with; set by resume()
};

}  // namespace loopfs::fusefs
