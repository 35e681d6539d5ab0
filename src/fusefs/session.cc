#include "fusefs/session.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace loopfs::fusefs {
namespace {

thread_local int reply_channel = -1;
thread_local bool resent = false;
thread_local std::vector<std::byte>* kept_reply = nullptr;  // where a reply goes that nobody waits for

constexpr uint64_t kResent = uint64_t{1} << 63;  // FUSE_UNIQUE_RESEND: linux/fuse.h, 6.9

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

ssize_t read_request(int main, void* buffer, size_t size, void*) {
  return ::read(channel_or(main), buffer, size);
}

}  // namespace

Result<void> Session::make(const fuse_lowlevel_ops& operations, void* userdata, int channel) {
  char program[] = "loopfs";
  char* words[] = {program, nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(1, words);
  session_.reset(fuse_session_new(&arguments, &operations, sizeof operations, userdata));
  fuse_opt_free_args(&arguments);  // what it holds by now is a copy
  if (!session_) return fail(ENOMEM, "fuse_session_new");
  const fuse_custom_io io{
      .writev = write_reply, .read = read_request, .splice_receive = nullptr, .splice_send = nullptr};
  const int main = ::fcntl(channel, F_DUPFD_CLOEXEC, 0);
  if (main < 0) return errno_fail("duplicate /dev/fuse");
  if (const int status = fuse_session_custom_io(session_.get(), &io, main); status != 0) {
    ::close(main);
    return fail(status < 0 ? -status : EIO, "fuse_session_custom_io");
  }
  return {};
}

void Session::perform(std::span<std::byte> request, std::vector<std::byte>* kept) const {
  fuse_in_header header{};
  if (request.size() < sizeof header) return;
  std::memcpy(&header, request.data(), sizeof header);
  resent = (header.unique & kResent) != 0;
  kept_reply = kept;
  const fuse_buf buffer{.size = request.size(), .flags = {}, .mem = request.data(), .fd = -1, .pos = 0};
  fuse_session_process_buf(session_.get(), &buffer);
  kept_reply = nullptr;
}

bool Session::is_interrupt(std::span<const std::byte> request) {
  fuse_in_header header{};
  if (request.size() < sizeof header) return false;
  std::memcpy(&header, request.data(), sizeof header);
  return header.opcode == FUSE_INTERRUPT;
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
