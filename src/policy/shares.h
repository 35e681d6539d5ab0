// What all owners have in common - the daemon's connections, threads, open files - and how much of it one may take.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <memory>

#include "base/error.h"

namespace loopfs::policy {

// Who answers for what is taken: the one who could make as many containers, ids and processes as he likes, and is still one.
struct Owner {
  enum class Kind {
    kMachine,         // root of the machine, in no container
    kUser,            // of the host, with all his containers and the ids that he has for them
    kContainer,       // one of root's, by the inode of its outermost user namespace
    kPlainContainer,  // one of root's that has the host's user namespace, by the inode of its pid namespace
  };
  Kind kind = Kind::kMachine;
  uint64_t number = 0;  // uid or inode
  auto operator<=>(const Owner&) const = default;
};

// For messages: "user 1000".
std::string to_string(const Owner& owner);

// One row of the table.
struct Bound {
  const char* what = "";    // the plural, for messages
  uint64_t most = 0;        // in all
  uint64_t of_owner = 0;    // of each owner; the machine's root has no such bound
  uint64_t for_root = 0;    // of `most`: what only the machine's root can have
  uint64_t for_others = 0;  // of `most`: what only who has less than `small`, or is root, can have
  uint64_t small = 0;
};

// One thing taken; its end gives it back. On any thread, also after the end of its Shares.
using Share = std::shared_ptr<void>;

// The count of one kind of thing. Thread-safe; its lock is held for a look-up, and never while another is taken.
class Shares {
 public:
  explicit Shares(const Bound& bound);

  // Errors: EDQUOT the owner has as much as one may have; EAGAIN what is left is kept for others.
  [[nodiscard]] Result<Share> take(const Owner& owner);

  uint64_t used(const Owner& owner) const;
  uint64_t used() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace loopfs::policy
