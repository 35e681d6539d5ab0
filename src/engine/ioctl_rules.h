// The ioctls of loop devices and who may do what: one table, for both engines and the supervisor.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"

namespace loopfs::engine {

enum class Right : uint8_t {
  kAnyone,
  kWriter,  // the device open for writing, or CAP_SYS_ADMIN; else EPERM
  kAdmin,   // CAP_SYS_ADMIN; else EACCES
};

// How an argument is passed that the call only reads.
enum class Argument : uint8_t {
  kOther,  // an answer, or a structure of its own
  kValue,
  kBytes,  // IoctlRule::size of them, at the address
};

struct IoctlRule {
  unsigned command = 0;
  Right right = Right::kAnyone;
  bool free_too = false;  // a device that is free has an answer of its own, not only ENXIO
  bool supervised =
      false;  // on the kernel's own device the supervisor performs it, or has loopfsd perform it
  Argument argument = Argument::kOther;
  uint16_t size = 0;      // bytes of kBytes
  uint64_t most = ~0ULL;  // of kValue, what loopfsd passes on

  // Whether the kernel keeps it from the root of a sandbox, and loopfsd can make the same call for him.
  bool on_behalf() const { return right != Right::kAnyone && argument != Argument::kOther; }
};

std::span<const IoctlRule> ioctl_rules();
// Null: none of ours.
const IoctlRule* find_ioctl(unsigned command);

// `writer`: the descriptor is open for writing. `admin` is asked only if it matters.
template <typename Admin>
Result<void> may_call(const IoctlRule& rule, bool writer, Admin&& admin) {
  if (rule.right == Right::kAnyone || (rule.right == Right::kWriter && writer) || admin()) return {};
  return fail(rule.right == Right::kWriter ? EPERM : EACCES, "ioctl {:#x} needs CAP_SYS_ADMIN", rule.command);
}

// Of 32-bit programs, where the number tells of a size_t.
constexpr unsigned compat_number(unsigned command) {
  constexpr unsigned kSizeShift = 16, kSizeMask = 0x3fff;  // _IOC_SIZESHIFT, _IOC_SIZEMASK
  return (command & ~(kSizeMask << kSizeShift)) | (4u << kSizeShift);
}

}  // namespace loopfs::engine
