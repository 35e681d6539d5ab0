#include "fusefs/session.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>

namespace loopfs::fusefs {
namespace {

thread_local int reply_channel = -1;
thread_local bool resent = false;
thread_local std::vector<std::byte>* kept_reply = nullptr;  // where a reply goes that nobody waits for

constexpr uint64_t kResent = uint64_t{1} << 63;  // FUSE_UNIQUE_RESEND: linux/fuse.h, 6.9
constexpr int kNotifyResend = 7;                 // FUSE_NOTIFY_RESEND: likewise

// Threads that serve nothing (a notifier) have no channel: `main` is the mounted one.
int channel_or(int main) {
  return reply_channel >= 0 ? reply_channel : main;
}

ssize_t write_reply(int main, iovec* vector, int count, void*) {
  if (kept_reply != nullptr) {
    for (const iovec& part : std::span(vector, static_cast<size_t>(count))) {
      const auto* bytes = static_cast<const std::byte*>(part.iov_base);
      kept_reply->insert(kept_reply->end(), bytes, bytes + part.iov_len);
    }
    return static_cast<ssize_t>(kept_reply->size());
  }
  return ::writev(channel_or(main), vector, count);
}

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

ssize_t read_request(int main, void* buffer, size_t size, void*) {
  return ::read(channel_or(main), buffer, size);
}

}  // namespace

Result<std::unique_ptr<Session>> Session::create(const fuse_lowlevel_ops& operations, void* userdata,
                                                 std::vector<Fd> channels, std::string thread_name) {
  std::unique_ptr<Session> session(new Session);
  session->thread_name_ = std::move(thread_name);
  if (channels.empty()) return fail(EINVAL, "serve FUSE without a channel");
  char program[] = "loopfs";
  char* words[] = {program, nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(1, words);
  session->session_.reset(fuse_session_new(&arguments, &operations, sizeof operations, userdata));
  fuse_opt_free_args(&arguments);  // what it holds by now is a copy
  if (!session->session_) return fail(ENOMEM, "fuse_session_new");
  const fuse_custom_io io{
      .writev = write_reply, .read = read_request, .splice_receive = nullptr, .splice_send = nullptr};
  const int main = ::fcntl(channels.front().get(), F_DUPFD_CLOEXEC, 0);
  if (main < 0) return errno_fail("duplicate /dev/fuse");
  if (const int status = fuse_session_custom_io(session->session_.get(), &io, main); status != 0) {
    ::close(main);
    return fail(status < 0 ? -status : EIO, "fuse_session_custom_io");
  }
  session->channels_ = std::move(channels);
  return session;
}

Result<std::unique_ptr<Session>> Session::create_shared(const fuse_lowlevel_ops& operations, void* userdata,
                                                        Fd channel, Shared shared) {
  std::vector<Fd> channels;
  channels.push_back(std::move(channel));
  auto session = create(operations, userdata, std::move(channels), "");
  if (session) (*session)->shared_ = std::move(shared);
  return session;
}

Session::~Session() {
  stop();
}

void Session::process(std::span<std::byte> request) {
  fuse_in_header header{};
  if (request.size() < sizeof header) return;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode == FUSE_INIT && begin_again(header.unique)) return;
  if (header.opcode == FUSE_INIT && shared_.on_begin) shared_.on_begin(request);
  resent = (header.unique & kResent) != 0;
  const fuse_buf buffer{.size = request.size(), .flags = {}, .mem = request.data(), .fd = -1, .pos = 0};
  fuse_session_process_buf(session_.get(), &buffer);
}

// The earlier process had noted the request and may not have answered it. libfuse takes it only once.
bool Session::begin_again(uint64_t unique) {
  if (begun_reply_.empty()) return false;
  fuse_out_header header{};
  std::memcpy(&header, begun_reply_.data(), sizeof header);
  header.unique = unique;
  std::memcpy(begun_reply_.data(), &header, sizeof header);
  (void)!::write(channels_.front().get(), begun_reply_.data(), begun_reply_.size());
  return true;
}

void Session::resume() {
  if (!shared_.begun_with.empty()) {
    std::vector<std::byte> reply;
    kept_reply = &reply;
    process(shared_.begun_with);
    kept_reply = nullptr;
    begun_reply_ = std::move(reply);
  }
  // What the earlier process had read and not answered. Before 6.9 the kernel does not know this, and such
  // callers wait until they are killed.
  const fuse_out_header again{.len = sizeof again, .error = kNotifyResend, .unique = 0};
  (void)!::write(channels_.front().get(), &again, sizeof again);
}

Result<void> Session::start() {
  if (shared_.hub != nullptr) {
    resume();
    return shared_.hub->add(channels_.front().get(),
                            {.lane = shared_.lane,
                             .serve = [this](std::span<std::byte> request) { process(request); },
                             .gone = shared_.on_gone});
  }
  install_wake_signal();
  const std::lock_guard lock(mutex_);
  start_threads();
  watch_ = std::thread([this] { watch(); });
  return {};
}

// One more for each channel. The caller has the mutex.
void Session::start_threads() {
  for (const auto& channel : channels_) {
    ++serving_;
    ++reading_;
    threads_.emplace_back([this, fd = channel.get()] { serve(fd); });
    ::pthread_setname_np(threads_.back().native_handle(), thread_name_.substr(0, 15).c_str());
  }
}

void Session::watch() {
  std::unique_lock lock(mutex_);
  while (serving_ > 0) {
    all_busy_.wait(lock, [this] { return serving_ == 0 || reading_ == 0; });
    const uint64_t before = answered_;
    if (finished_.wait_for(lock, kHeldUp, [this] { return serving_ == 0; })) return;
    const bool held_up = reading_ == 0 && answered_ == before;
    if (held_up && threads_.size() < kMostThreads && !fuse_session_exited(session_.get())) start_threads();
  }
}

void Session::wait_until(const std::function<bool()>& done, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  finished_.wait_for(lock, patience, [&] { return serving_ == 0 || done(); });
}

void Session::changed() {
  const std::lock_guard lock(mutex_);
  finished_.notify_all();
}

void Session::stop() {
  if (!session_) return;
  if (shared_.hub != nullptr) {
    shared_.hub->remove(channels_.front().get());
    return;  // the lane may still be serving
  }
  fuse_session_exit(session_.get());
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
  session_.reset();  // closes its duplicate
  channels_.clear();
}

// Of a thread that has a request.
class Session::Busy {
 public:
  explicit Busy(Session& session) : session_(session) {
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
  Session& session_;
};

// Blocks in read(2), where the kernel wakes one thread a request; poll(2) would wake them all.
void Session::serve(int channel) {
  const ReplyChannel own(channel);
  RequestBuffer buffer;
  while (!fuse_session_exited(session_.get())) {
    const int received = fuse_session_receive_buf(session_.get(), buffer.get());
    if (received > 0) {
      const Busy busy(*this);
      fuse_session_process_buf(session_.get(), buffer.get());
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

bool Session::current_is_resent() {
  return resent;
}

int Session::current_channel() {
  return reply_channel;
}

Session::ReplyChannel::ReplyChannel(int channel) : previous_(std::exchange(reply_channel, channel)) {}
Session::ReplyChannel::~ReplyChannel() {
  reply_channel = previous_;
}

}  // namespace loopfs::fusefs
