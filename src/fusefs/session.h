// One libfuse session, served by threads of its own or by a hub.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "fusefs/hub.h"

namespace loopfs::fusefs {

// Owns the channels and the threads. A reply must leave through the channel that its request came from: each
// thread reads and writes one, which libfuse's custom I/O hooks find in a thread-local variable. A
// reply that another thread sends (ReplyChannel) is put on the request's channel in the same way.
// There is a thread for each channel, and more when all of them are held up: by a backing file whose file system does
// not answer, say, when somebody asks for another device.
class Session {
 public:
  // `channels`: the descriptor that was mounted, then its clones. `userdata` is what fuse_req_userdata()
  // gives.
  static Result<std::unique_ptr<Session>> create(const fuse_lowlevel_ops& operations, void* userdata,
                                                 std::vector<Fd> channels, std::string thread_name);

  // Of many in one process: requests are read by the hub and served on the lane.
  struct Shared {
    Hub* hub = nullptr;  // borrowed
    std::shared_ptr<base::Lane> lane;
    // FUSE_INIT of a session that an earlier process has begun; empty for a new one.
    std::vector<std::byte> begun_with;
    std::function<void(std::span<const std::byte>)> on_begin;  // FUSE_INIT, for whoever goes on after us
    std::function<void()> on_gone;                             // the mount is no more; on the lane
  };
  static Result<std::unique_ptr<Session>> create_shared(const fuse_lowlevel_ops& operations, void* userdata,
                                                        Fd channel, Shared shared);

  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Errors: only of a shared session.
  Result<void> start();

  // Waits until `done` says so, until the mount is gone, or for `patience`. Ask again after changed().
  void wait_until(const std::function<bool()>& done, std::chrono::milliseconds patience);
  void changed();

  // Ends the connection, whoever still uses the mount (they get ENOTCONN), and joins the threads. The lane of a
  // shared session must be drained before the session is destroyed.
  void stop();

  fuse_session* raw() { return session_.get(); }

  // Whether the request that the calling thread is serving had been given to an earlier process, which ended
  // without an answer to it.
  static bool current_is_resent();

  // The channel whose request the calling thread is serving.
  static int current_channel();

  // While it lives, replies of the calling thread go to `channel`.
  class ReplyChannel {
   public:
    explicit ReplyChannel(int channel);
    ~ReplyChannel();
    ReplyChannel(const ReplyChannel&) = delete;
    ReplyChannel& operator=(const ReplyChannel&) = delete;

   private:
    int previous_;
  };

 private:
  struct Destroy {
    void operator()(fuse_session* session) const { fuse_session_destroy(session); }
  };

  class Busy;

  Session() = default;
  void start_threads();
  void serve(int channel);
  void watch();
  void process(std::span<std::byte> request);
  // Makes libfuse, and our own operations, know what was agreed on with the kernel, and has the kernel send again
  // what was read and not answered.
  void resume();
  // FUSE_INIT once more, after resume(). False: it is the first.
  bool begin_again(uint64_t unique);

  std::string thread_name_;
  std::vector<Fd> channels_;
  std::unique_ptr<fuse_session, Destroy> session_;
  std::vector<std::thread> threads_;
  Shared shared_;
  std::vector<std::byte> begun_reply_;  // to shared_.begun_with; set by resume()
  std::mutex mutex_;                    // guards threads_ and serving_
  std::condition_variable finished_, all_busy_;
  size_t serving_ = 0;            // threads that are not out of serve() yet
  std::atomic<int> reading_ = 0;  // those of them that wait for a request
  std::atomic<uint64_t> answered_ = 0;
  std::thread watch_;
};

}  // namespace loopfs::fusefs
