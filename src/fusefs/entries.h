// What a whole /dev has besides the nodes of its instance.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loopfs::fusefs {

// A directory, a link, a socket, a FIFO, or a file, which has no bytes: it is there to be mounted on.
struct Entry {
  uint64_t number = 0;  // inode; never given out twice
  uint64_t parent = 0;  // inode of the directory; kRootInode: the file system's root
  std::string name;
  mode_t mode = 0;  // with the type
  uid_t uid = 0;
  gid_t gid = 0;
  std::string target = {};  // of a link
  timespec modified = {}, changed = {};

  bool is_directory() const { return S_ISDIR(mode); }
};

// Entries are few and small, and made and removed by those who use the file system only, so that the kernel may
// remember them. Thread-safe.
class Entries {
 public:
  // Where they outlive the server process: told of each change before it happens, under the lock.
  struct Keeping {
    std::function<Result<void>(const Entry&)> put;
    std::function<void(uint64_t number)> drop;
    // For one more entry, given back by the end of what it returns.
    std::function<Result<std::shared_ptr<void>>()> permit;
  };
  static constexpr size_t kMost = 256;
  static constexpr size_t kLongestTarget = 1023;  // bytes

  // `serials_from`: no server before has given out serials from here on.
  explicit Entries(Keeping keeping = {}, uint64_t serials_from = 0);

  // The number of no node's inode.
  static bool is_entry(uint64_t number);

  std::optional<Entry> find(uint64_t parent, std::string_view name);
  std::optional<Entry> get(uint64_t number);
  // In the order of their numbers.
  std::vector<Entry> list(uint64_t parent);
  std::vector<Entry> all();

  // Of `wanted` all but number and times. Errors: ENOENT no such directory, EEXIST, ENOSPC, EPERM a type that is none of
  // these, ENAMETOOLONG; those of Keeping::permit.
  Result<Entry> make(Entry wanted);
  // Errors: ENOENT; as unlink(2) and rmdir(2) have it: EISDIR, ENOTDIR, ENOTEMPTY.
  Result<void> remove(uint64_t parent, std::string_view name, bool directory);
  // Errors: ENOENT, and those of rename(2) about what is replaced. EEXIST unless `replace`.
  Result<void> rename(uint64_t parent, std::string_view name, uint64_t new_parent, std::string_view new_name,
                      bool replace);

  struct Change {
    std::optional<mode_t> mode;
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
    std::optional<timespec> modified;
  };
  // Errors: ESTALE it has been removed.
  Result<Entry> change(uint64_t number, const Change& change);

  // One that an earlier server had.
  void adopt(Entry entry);

  // When the root directory changed last.
  timespec root_changed();

 private:
  Entry* find_locked(uint64_t parent, std::string_view name);
  bool is_empty_locked(uint64_t directory) const;
  Result<void> check_replaced(const Entry& moved, const Entry& replaced) const;
  Result<void> put(const Entry& entry) const;
  void erase_locked(uint64_t number);
  void touch_locked(uint64_t directory);

  const Keeping keeping_;
  std::mutex mutex_;  // guards what follows
  std::map<uint64_t, Entry> entries_;
  std::map<uint64_t, std::shared_ptr<void>> permits_;
  uint64_t next_;
  timespec root_changed_ = {};
};

}  // namespace loopfs::fusefs
