// What the two kinds of FUSE session have in common: libfuse's session, and where replies go.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <memory>
#include <span>
#include <vector>

#include "base/error.h"

namespace loopfs::fusefs {

// A reply must leave through the channel that its request came from: a thread that serves requests of one channel of
// several says which with a ReplyChannel, where libfuse's custom I/O hooks find it.
class Session {
 public:
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  fuse_session* raw() const { return session_.get(); }

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

 protected:
  Session() = default;
  ~Session() = default;

  // `channel`: the descriptor that was mounted; borrowed for the call. `userdata` is what fuse_req_userdata() gives.
  Result<void> make(const fuse_lowlevel_ops& operations, void* userdata, int channel);
  // A request that libfuse has not read. `kept_reply`: where its reply goes; null: to the channel.
  void perform(std::span<std::byte> request, std::vector<std::byte>* kept_reply) const;
  // INTERRUPT: the caller of another request has been killed, or has got a signal. Nobody here asks for that, and libfuse
  // keeps one that comes after its request's answer, for good if none follows: not for libfuse.
  static bool is_interrupt(std::span<const std::byte> request);
  void destroy() { session_.reset(); }

 private:
  struct Destroy {
    void operator()(fuse_session* session) const { fuse_session_destroy(session); }
  };

  std::unique_ptr<fuse_session, Destroy> session_;
};

}  // namespace loopfs::fusefs
