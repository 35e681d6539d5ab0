// One libfuse session, served by several threads with a /dev/fuse descriptor each.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::fusefs {

// Owns the channels and the threads. A reply must leave through the channel that its request came from: each
// thread reads and writes its own, which libfuse's custom I/O hooks find in a thread-local variable. A
// reply that another thread sends (ReplyChannel) is put on the request's channel in the same way.
class Session {
 public:
  // `channels`: the descriptor that was mounted, then its clones. `userdata` is what fuse_req_userdata()
  // gives.
  static Result<std::unique_ptr<Session>> create(const fuse_lowlevel_ops& operations, void* userdata,
                                                 std::vector<Fd> channels, std::string thread_name);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start();

  // Waits until `done` says so, until the mount is gone, or for `patience`. Ask again after changed().
  void wait_until(const std::function<bool()>& done, std::chrono::milliseconds patience);
  void changed();

  // Ends the connection, whoever still uses the mount (they get ENOTCONN), and joins the threads.
  void stop();

  fuse_session* raw() { return session_.get(); }

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

  Session() = default;
  void serve(int channel);

  std::string thread_name_;
  std::vector<Fd> channels_;
  std::unique_ptr<fuse_session, Destroy> session_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;  // guards serving_
  std::condition_variable finished_;
  size_t serving_ = 0;  // threads that are not out of serve() yet
};

}  // namespace loopfs::fusefs
