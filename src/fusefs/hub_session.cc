#include "fusefs/hub_session.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cstring>

namespace loopfs::fusefs {
namespace {

constexpr int kNotifyResend = 7;  // FUSE_NOTIFY_RESEND: linux/fuse.h, 6.9

}  // namespace

Result<std::unique_ptr<HubSession>> HubSession::create(const fuse_lowlevel_ops& operations, void* userdata,
                                                       Fd channel, Options options) {
  std::unique_ptr<HubSession> session(new HubSession(std::move(channel), std::move(options)));
  if (auto made = session->make(operations, userdata, session->channel_.get()); !made) return propagate(made);
  return session;
}

Result<void> HubSession::start() {
  resume();
  return options_.hub->add(channel_.get(),
                           {.lane = options_.lane,
                            .serve = [this](std::span<std::byte> request) { process(request); },
                            .gone = options_.on_gone});
}

void HubSession::stop() {
  options_.hub->remove(channel_.get());
}

void HubSession::process(std::span<std::byte> request) {
  fuse_in_header header{};
  if (request.size() < sizeof header) return;
  std::memcpy(&header, request.data(), sizeof header);
  if (header.opcode == FUSE_INIT) {
    if (begin_again(header.unique)) return;
    if (options_.on_begin) options_.on_begin(request);
  }
  if (!is_interrupt(request)) perform(request, nullptr);
}

// The earlier process had noted the request and may not have answered it. libfuse takes it only once.
bool HubSession::begin_again(uint64_t unique) {
  if (begun_reply_.empty()) return false;
  fuse_out_header header{};
  std::memcpy(&header, begun_reply_.data(), sizeof header);
  header.unique = unique;
  std::memcpy(begun_reply_.data(), &header, sizeof header);
  (void)!::write(channel_.get(), begun_reply_.data(), begun_reply_.size());
  return true;
}

void HubSession::resume() {
  if (!options_.begun_with.empty()) perform(options_.begun_with, &begun_reply_);
  // What the earlier process had read and not answered. Before 6.9 the kernel does not know this, and such
  // callers wait until they are killed.
  const fuse_out_header again{.len = sizeof again, .error = kNotifyResend, .unique = 0};
  (void)!::write(channel_.get(), &again, sizeof again);
}

}  // namespace loopfs::fusefs
