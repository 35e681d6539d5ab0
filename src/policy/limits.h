// How many loop devices, instances, connections or requests each user may have, counted as the kernel's
// ucounts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/procfs.h"

namespace loopfs::policy {

inline constexpr uint64_t kUnlimited = UINT64_MAX;

// What is counted against: a user, in one user namespace.
struct Level {
  sys::NamespaceId user_namespace;
  uid_t uid = 0;  // in the numbering of the first user namespace
  bool operator==(const Level&) const = default;
};

// Innermost first: (namespace, uid of its root), (parent, uid of the namespace's owner), ... up to the first
// one.
using Chain = std::vector<Level>;

struct Usage {
  Level level;
  uint64_t used = 0;
  uint64_t limit = kUnlimited;  // the one in force
  bool own_limit = false;       // it was set for this level; else it is its namespace's
};

class Ledger;

// One thing that is counted on every level of a chain; the end of the Charge gives it back. Any thread may
// end it. It may outlive the Limits that it is from.
class Charge {
 public:
  Charge() = default;  // of nothing
  Charge(Charge&& other) noexcept = default;
  Charge& operator=(Charge&& other) noexcept;
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  ~Charge() { reset(); }

  bool held() const { return ledger_ != nullptr; }
  void reset();

 private:
  friend class Limits;
  Charge(std::shared_ptr<Ledger> ledger, Chain chain)
      : ledger_(std::move(ledger)), chain_(std::move(chain)) {}

  std::shared_ptr<Ledger> ledger_;
  Chain chain_;
};

// Owns the counts of one kind of thing: the daemon has one for loop devices and one for instances (both
// charged with whole chains), one for connections (a chain of one level: the first namespace and the caller's
// uid), and each instance one for the requests under way in it. Thread-safe; its lock is held for a few
// lookups and never while another is taken.
//
// A limit below the present use takes nothing away: then nothing new is granted. The limit in force on a
// level is its own, else that of its namespace, else Options::first_default in the first namespace and none
// in others. Levels without charges and without a limit of their own take no memory. Limits that were set
// stay until they are cleared or forgotten: the kernel gives the numbers of dead namespaces to new ones, so
// the owner has to forget() them.
class Limits {
 public:
  struct Options {
    std::string what = "loop devices";  // the plural, for messages
    sys::NamespaceId first_namespace;   // the user namespace that the daemon was started in
    uint64_t first_default = 255;       // there, for each uid
  };
  explicit Limits(Options options);

  // All levels or none. Errors: ENOSPC names the level that is full; EINVAL for an empty chain.
  [[nodiscard]] Result<Charge> charge(const Chain& chain);

  void set_limit(const Level& level, uint64_t n);
  void clear_limit(const Level& level);

  // For each uid in the namespace: what /proc/sys/user/max_loop_devices shows there and sets.
  void set_namespace_limit(const sys::NamespaceId& user_namespace, uint64_t n);
  uint64_t namespace_limit(const sys::NamespaceId& user_namespace) const;

  // The namespace has ended: drops the limits in it. What is still charged there stays so.
  void forget(const sys::NamespaceId& user_namespace);

  Usage usage(const Level& level) const;
  // Levels with charges or with limits of their own, by namespace (the first one before all others) and uid.
  std::vector<Usage> list() const;

 private:
  std::shared_ptr<Ledger> ledger_;
};

}  // namespace loopfs::policy
