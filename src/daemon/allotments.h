// What the daemon has for all, and what one owner may hold of it: the one table. docs/security.md has it for readers.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "base/threads.h"
#include "policy/shares.h"

namespace loopfs::daemon {

// Instances and devices are not here: policy::Limits counts those, in all user namespaces. Thread-safe.
class Allotments {
 public:
  explicit Allotments(uint64_t connections_per_user);

  policy::Shares& connections() { return connections_; }
  // Open files of the instances' nodes: each takes memory, of a free device also an item of the keeper. And what a whole
  // /dev has besides them, which is an item each.
  policy::Shares& open_files() { return open_files_; }
  // Processes that may be stuck in what is the owner's.
  policy::Shares& porters() { return porters_; }

  // The threads of one owner, over all his instances.
  struct Threads {
    std::shared_ptr<base::Budget> requests, closing, escorts, watching;
  };
  static constexpr unsigned kThreadsOfOwner = 128 + 32 + 64 + 16;
  std::shared_ptr<Threads> threads_of(const policy::Owner& owner);

 private:
  policy::Shares connections_, open_files_, porters_;
  std::mutex mutex_;  // guards threads_
  std::map<policy::Owner, std::weak_ptr<Threads>> threads_;
};

}  // namespace loopfs::daemon
