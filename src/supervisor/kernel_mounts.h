// The file systems that the kernel has mounted for the sandbox, by loopfsd.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"

namespace loopfs::supervisor {

// Their superblocks belong to the machine's user namespace. What the kernel allows for them to its owner only is asked of
// loopfsd: a remount; or done in another way: umount -f. Thread-safe.
class KernelMounts {
 public:
  // As in mount(2).
  struct Wanted {
    engine::NodeId node;
    std::string type;
    uint64_t flags = 0;
    std::string data;
  };
  struct Maker {
    // A detached mount; none: a FUSE program is to mount it.
    std::function<Result<std::optional<Fd>>(const Wanted&)> mount;
    // Of the superblock only.
    std::function<Result<void>(const Wanted&)> remount;
  };
  // Unset: there are none.
  explicit KernelMounts(Maker maker) : maker_(std::move(maker)) {}

  Result<std::optional<Fd>> mount(const Wanted& wanted) const;
  Result<void> remount(const Wanted& wanted) const;

  struct Known {
    engine::NodeId node;
    std::string type;
  };
  // `device`: st_dev of the file system.
  void add(dev_t device, Known known);
  std::optional<Known> find(dev_t device) const;
  bool empty() const;  // none ever was there

 private:
  Maker maker_;
  mutable std::mutex mutex_;
  std::map<dev_t, Known> mounts_;  // also of those that are gone: one for each number at most
};

// The options of a mount, with those that mount(2) has as flags, and without what mount tables show beside options, which
// mount(8) hands back at a remount. Pure.
std::string options_of(uint64_t flags, const std::string& data);

}  // namespace loopfs::supervisor
