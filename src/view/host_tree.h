// A directory of the host that the view passes on, read-only.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "view/entry.h"

namespace loopfs::view {

// Reads below one directory and never leaves it: no "..", no symbolic link is followed, no other file
// system is entered. A directory that the host does not have is empty. Thread-safe: holds no state.
class HostTree {
 public:
  explicit HostTree(const std::string& directory);

  // The directory at `path` ("" is the directory itself). Errors: those of openat2(2).
  Result<std::vector<Listed>> list(const std::string& path) const;

  // The entry at `path`; a file's text stays empty. Errors: ENOENT, those of openat2(2).
  Result<Entry> find(const std::string& path) const;

  // A file's text, at most 1 MiB of it. Errors: those of openat2(2) and read(2).
  Result<std::string> read(const std::string& path) const;

 private:
  Result<Fd> open(const std::string& path, int flags) const;

  Fd directory_;
};

}  // namespace loopfs::view
