// An owned file descriptor.
#pragma once

#include <utility>

namespace loopfs::base {

// Owns one file descriptor, or none. Move-only; closing keeps errno, so that an Fd going out of scope
// never changes the error of the call that made the scope end. A function that takes an Fd takes
// ownership; one that takes an `int fd` borrows.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Gives the descriptor up without closing it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

}  // namespace loopfs::base

namespace loopfs {
using base::Fd;
}
