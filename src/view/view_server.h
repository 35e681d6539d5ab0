// The view's FUSE file system: what a sandbox sees at the places of view::kParts.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "fusefs/threaded_session.h"
#include "view/tree.h"

namespace loopfs::view {

// Serves the tree read-only, on threads of its own. Every answer is made from the present state of the engine
// and of the host: nothing is cached, here or in the kernel.
class ViewServer {
 public:
  struct Options {
    engine::Engine* engine = nullptr;  // borrowed; outlives the server
    std::vector<Fd> channels;          // /dev/fuse, mounted, and clones of it: one thread each
    std::string sysfs = "/sys";
    std::string procfs = "/proc";
    std::string udev_data = "/run/udev/data";
  };
  static Result<std::unique_ptr<ViewServer>> create(Options options);

  void start() { session_->start(); }
  void stop() { session_->stop(); }

  const Tree& tree() const { return tree_; }

  // Inode numbers of paths: given out at a lookup, kept until the kernel has forgotten every lookup.
  uint64_t remember(const std::string& path);
  void forget(uint64_t inode, uint64_t lookups);
  std::string path_of(uint64_t inode) const;  // "" is the root

 private:
  explicit ViewServer(const Options& options);

  struct Known {
    std::string path;
    uint64_t lookups = 0;
  };

  Tree tree_;
  mutable std::mutex mutex_;  // guards what follows, up to session_
  std::unordered_map<uint64_t, Known> known_;
  std::unordered_map<std::string, uint64_t> inodes_;
  uint64_t next_inode_ = FUSE_ROOT_ID + 1;

  std::unique_ptr<fusefs::ThreadedSession> session_;
};

}  // namespace loopfs::view
