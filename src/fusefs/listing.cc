#include "fusefs/listing.h"

#include <algorithm>

namespace loopfs::fusefs {
namespace {

constexpr size_t kMost = 1 << 20;  // bytes of one answer; more than the kernel asks for

}  // namespace

Listing::Listing(fuse_req_t request, size_t size, off_t offset)
    : request_(request), buffer_(std::min(size, kMost)), offset_(offset) {}

bool Listing::add(const std::string& name, const struct stat& status, off_t place) {
  if (place <= offset_) return true;
  const size_t left = buffer_.size() - used_;
  const size_t length =
      fuse_add_direntry(request_, buffer_.data() + used_, left, name.c_str(), &status, place);
  if (length > left) return false;
  used_ += length;
  return true;
}

void Listing::reply() {
  fuse_reply_buf(request_, buffer_.data(), used_);
}

void reply_statfs(fuse_req_t request, unsigned block) {
  struct statvfs status {};
  status.f_bsize = block;
  status.f_frsize = block;
  status.f_namemax = 255;
  fuse_reply_statfs(request, &status);
}

}  // namespace loopfs::fusefs
