// A FUSE session with threads of its own.
#pragma once

#include <atomic>
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
#include "fusefs/session.h"

namespace loopfs::fusefs {

// Owns the channels and the threads. Each thread reads from and writes to one channel. There is a thread for each, and
// more when all of them are held up: by a backing file whose file system does not answer, say, when somebody asks for
// another device.
class ThreadedSession final : public Session {
 public:
  // `channels`: the descriptor that was mounted, then its clones. `userdata` is what fuse_req_userdata() gives.
  static Result<std::unique_ptr<ThreadedSession>> create(const fuse_lowlevel_ops& operations, void* userdata,
                                                         std::vector<Fd> channels, std::string thread_name);
  ~ThreadedSession() { stop(); }

  void start();

  // Waits until `done` says so, until the mount is gone, or for `patience`. Ask again after changed().
  void wait_until(const std::function<bool()>& done, std::chrono::milliseconds patience);
  void changed();

  // Ends the connection, whoever still uses the mount (they get ENOTCONN), and joins the threads.
  void stop();

 private:
  class Busy;

  ThreadedSession() = default;
  void start_threads();
  void serve(int channel);
  void watch();

  std::string thread_name_;
  std::vector<Fd> channels_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;  // guards threads_ and serving_
  std::condition_variable finished_, all_busy_;
  size_t serving_ = 0;            // threads that are not out of serve() yet
  std::atomic<int> reading_ = 0;  // those of them that wait for a request
  std::atomic<uint64_t> answered_ = 0;
  std::thread watch_;
};

}  // namespace loopfs::fusefs
