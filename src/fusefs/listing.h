// Answers about directories and the file system itself, which every file system of ours gives alike.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>

#include <string>
#include <vector>

namespace loopfs::fusefs {

// The answer to one READDIR.
class Listing {
 public:
  // `offset`: the place of the last entry that the kernel has had; 0: none.
  Listing(fuse_req_t request, size_t size, off_t offset);

  // In the order of their places; what the kernel has had is left out. Of `status` only the type and the inode count.
  // False: the answer is full.
  bool add(const std::string& name, const struct stat& status, off_t place);
  void reply();

 private:
  fuse_req_t request_;
  std::vector<char> buffer_;
  off_t offset_;
  size_t used_ = 0;
};

// One that has no room and no files to count.
void reply_statfs(fuse_req_t request, unsigned block);

}  // namespace loopfs::fusefs
