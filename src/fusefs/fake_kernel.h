// For tests: the kernel's end of /dev/fuse.
#pragma once

#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace loopfs::fusefs {

// A packet each way is a request and its answer, as reads and writes of /dev/fuse are. One request at a time.
class FakeKernel {
 public:
  struct Answer {
    int error = 0;  // an errno
    std::vector<std::byte> bytes;

    template <typename T>
    T as() const {
      T value{};
      EXPECT_GE(bytes.size(), sizeof value);
      std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
      return value;
    }
  };

  FakeKernel() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_ = Fd(ends[0]);
    server_ = Fd(ends[1]);
  }

  Fd take_channel() { return std::move(server_); }

  // `caller`: the thread's id; 0: out of sight.
  void send(uint32_t opcode, uint64_t inode, std::string_view body, pid_t caller = 0) {
    const fuse_in_header header{.len = static_cast<uint32_t>(sizeof header + body.size()),
                                .opcode = opcode,
                                .unique = ++unique_,
                                .nodeid = inode,
                                .pid = static_cast<uint32_t>(caller)};
    std::vector<std::byte> request(header.len);
    std::memcpy(request.data(), &header, sizeof header);
    std::memcpy(request.data() + sizeof header, body.data(), body.size());
    EXPECT_EQ(::write(kernel_.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
  }

  // To the request that was sent last. What the server tells of its own accord is passed over.
  Answer receive() {
    std::vector<std::byte> answer(2 << 20);
    fuse_out_header header{};
    ssize_t length = 0;
    do {
      pollfd entry{kernel_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 5000) != 1) return {.error = ETIMEDOUT, .bytes = {}};
      length = ::read(kernel_.get(), answer.data(), answer.size());
      if (length < static_cast<ssize_t>(sizeof header)) return {.error = EIO, .bytes = {}};
      std::memcpy(&header, answer.data(), sizeof header);
    } while (header.unique == 0);
    EXPECT_EQ(header.unique, unique_);
    answer.resize(static_cast<size_t>(length));
    answer.erase(answer.begin(), answer.begin() + sizeof header);
    return {.error = -header.error, .bytes = std::move(answer)};
  }

  Answer ask(uint32_t opcode, uint64_t inode, std::string_view body, pid_t caller = 0) {
    send(opcode, inode, body, caller);
    return receive();
  }
  template <typename T>
  Answer ask(uint32_t opcode, uint64_t inode, const T& body,
             pid_t caller = 0) requires std::is_trivially_copyable_v<T> &&
      (!std::is_convertible_v<T, std::string_view>) {
    return ask(opcode, inode, std::string_view(reinterpret_cast<const char*>(&body), sizeof body), caller);
  }

  // Of the kernel that the header is of.
  Answer begin() {
    return ask(FUSE_INIT, 0,
               fuse_init_in{.major = FUSE_KERNEL_VERSION,
                            .minor = FUSE_KERNEL_MINOR_VERSION,
                            .max_readahead = 128 << 10,
                            .flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES});
  }

  // The terminating zero of a name is part of the request.
  Answer lookup(std::string_view name, pid_t caller = 0) {
    return ask(FUSE_LOOKUP, FUSE_ROOT_ID, std::string(name) + '\0', caller);
  }

 private:
  Fd kernel_, server_;
  uint64_t unique_ = 0;
};

}  // namespace loopfs::fusefs
