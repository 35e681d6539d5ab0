#include "fusefs/threaded_session.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace loopfs::fusefs {
namespace {

constexpr size_t kMostThreads = 64;               // of a session
constexpr std::chrono::milliseconds kHeldUp{50};  // without an answer from any thread

// A signal that does nothing but end a read(2) of a thread that is to stop.
const int kWake = SIGRTMAX;

void install_wake_signal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(kWake, &action, nullptr);  // without SA_RESTART
}

// Where a thread's requests are read to. Direct I/O of the backing file wants what a WRITE request carries at
// an aligned address, so its header ends there. libfuse leaves a buffer that it is given alone up to 3.16;
// later ones may reallocate it, and get to make their own.
class RequestBuffer {
 public:
  RequestBuffer() {
    constexpr size_t kAlignment = 4096;
    constexpr size_t kHeader = sizeof(fuse_in_header) + sizeof(fuse_write_in);
    if (fuse_version() >= 317) return;
    // libfuse's own size: 256 pages of data and one for the header.
    const size_t size = kAlignment + 256 * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + 2 * kAlignment;
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, size)));
    if (memory_) buffer_.mem = memory_.get() + kAlignment - kHeader;
  }
  ~RequestBuffer() {
    if (!memory_) std::free(buffer_.mem);
  }
  RequestBuffer(const RequestBuffer&) = delete;
  RequestBuffer& operator=(const RequestBuffer&) = delete;

  fuse_buf* get() { return &buffer_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  fuse_buf buffer_{};
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace

Result<std::unique_ptr<ThreadedSession>> ThreadedSession::create(const fuse_lowlevel_ops& operations,
                                                                 void* userdata, std::vector<Fd> channels,
                                                                 std::string thread_name) {
  if (channels.empty()) return fail(EINVAL, "serve FUSE without a channel");
  std::unique_ptr<ThreadedSession> session(new ThreadedSession);
  if (auto made = session->make(operations, userdata, channels.front().get()); !made) return propagate(made);
  session->thread_name_ = std::move(thread_name);
  session->channels_ = std::move(channels);
  return session;
}

void ThreadedSession::start() {
  install_wake_signal();
  const std::lock_guard lock(mutex_);
  start_threads();
  watch_ = std::thread([this] { watch(); });
}

// One more for each channel. The caller has the mutex.
void ThreadedSession::start_threads() {
  for (const auto& channel : channels_) {
    ++serving_;
    ++reading_;
    threads_.emplace_back([this, fd = channel.get()] { serve(fd); });
    ::pthread_setname_np(threads_.back().native_handle(), thread_name_.substr(0, 15).c_str());
  }
}

void ThreadedSession::watch() {
  std::unique_lock lock(mutex_);
  while (serving_ > 0) {
    all_busy_.wait(lock, [this] { return serving_ == 0 || reading_ == 0; });
    const uint64_t before = answered_;
    if (finished_.wait_for(lock, kHeldUp, [this] { return serving_ == 0; })) return;
    const bool held_up = reading_ == 0 && answered_ == before;
    if (held_up && threads_.size() < kMostThreads && !fuse_session_exited(raw())) start_threads();
  }
}

void ThreadedSession::wait_until(const std::function<bool()>& done, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  finished_.wait_for(lock, patience, [&] { return serving_ == 0 || done(); });
}

void ThreadedSession::changed() {
  const std::lock_guard lock(mutex_);
  finished_.notify_all();
}

void ThreadedSession::stop() {
  if (raw() == nullptr) return;
  fuse_session_exit(raw());
  {
    std::unique_lock lock(mutex_);
    // A signal that comes just before read(2) is lost: repeat until each thread is out.
    while (!finished_.wait_for(lock, std::chrono::milliseconds(5), [this] { return serving_ == 0; })) {
      for (auto& thread : threads_) ::pthread_kill(thread.native_handle(), kWake);
    }
  }
  if (watch_.joinable()) watch_.join();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  destroy();  // closes its duplicate
  channels_.clear();
}

// Of a thread that has a request.
class ThreadedSession::Busy {
 public:
  explicit Busy(ThreadedSession& session) : session_(session) {
    if (--session_.reading_ > 0) return;
    const std::lock_guard lock(session_.mutex_);
    session_.all_busy_.notify_one();
  }
  ~Busy() {
    ++session_.answered_;
    ++session_.reading_;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  ThreadedSession& session_;
};

// Blocks in read(2), where the kernel wakes one thread a request; poll(2) would wake them all.
void ThreadedSession::serve(int channel) {
  const ReplyChannel own(channel);
  RequestBuffer buffer;
  while (!fuse_session_exited(raw())) {
    const int received = fuse_session_receive_buf(raw(), buffer.get());
    if (received > 0) {
      const fuse_buf& read = *buffer.get();
      if (is_interrupt({static_cast<const std::byte*>(read.mem), read.size})) continue;
      const Busy busy(*this);
      fuse_session_process_buf(raw(), buffer.get());
    } else if (received != -EINTR && received != -EAGAIN && received != -ENOENT) {
      break;  // 0, -ENODEV: the mount is gone
    }
  }
  const std::lock_guard lock(mutex_);
  --reading_;
  --serving_;
  finished_.notify_all();
  all_busy_.notify_one();
}

}  // namespace loopfs::fusefs
