// A descriptor taken out of a caller.
#pragma once

#include <optional>
#include <thread>

#include "base/fd.h"
#include "engine/caller.h"

namespace loopfs::engine {

// Closing a descriptor of the instance's own mount sends it a request and waits for the answer. Were all
// its threads to do so at once, none would be left to answer: such a one is closed by a thread of its own.
class GivenFile {
 public:
  GivenFile() = default;
  GivenFile(Fd file, std::optional<instance::NodeId> node) : file_(std::move(file)), node_(node) {}
  GivenFile(GivenFile&& other) noexcept : file_(std::move(other.file_)), node_(other.node_) {}
  GivenFile& operator=(GivenFile&& other) noexcept {
    close();
    file_ = std::move(other.file_);
    node_ = other.node_;
    return *this;
  }
  ~GivenFile() { close(); }

  int get() const { return file_.get(); }
  // The node of this instance that it has open, if it has one.
  const std::optional<instance::NodeId>& node() const { return node_; }
  // Of a file that is not a node.
  Fd release() { return std::move(file_); }

 private:
  void close() {
    if (!node_ || !file_.valid()) return file_.reset();
    std::thread([fd = file_.release()] { Fd(fd).reset(); }).detach();
  }

  Fd file_;
  std::optional<instance::NodeId> node_;
};

}  // namespace loopfs::engine
