#include "mounter/fuse_request.h"

#include <cstdlib>
#include <sstream>

#include "sys/mount_api.h"

namespace loopfs::mounter {

FuseRequest fuse_of(const std::string& data) {
  FuseRequest request;
  std::istringstream words(data);
  for (std::string word; std::getline(words, word, ',');) {
    if (word.starts_with("fd=")) request.number = std::atoi(word.c_str() + 3);
    if (word.starts_with("rootmode="))
      request.root_mode = static_cast<mode_t>(std::strtoul(word.c_str() + 9, nullptr, 8));
    if (word.starts_with("max_read=")) request.max_read = std::strtoull(word.c_str() + 9, nullptr, 10);
  }
  return request;
}

Result<Fd> make_fuse_mount(const Request& request, const FuseRequest& fuse) {
  sys::FuseMountOptions options;
  options.source = request.source;
  // "fuse.ext4" would make mount(8) hand a remount to mount.fuse(8), which knows no program "ext4". For
  // "fuse.loop.ext4" it looks for helpers that nobody has, and then calls mount(2).
  options.subtype = "loop." + request.asked_type;
  options.root_mode = S_IFDIR | (fuse.root_mode & 07777);
  options.max_read = fuse.max_read;
  options.read_only = request.read_only;
  options.synchronous = request.synchronous;
  options.attributes = request.attributes;
  return sys::mount_fuse(fuse.channel.get(), options);
}

}  // namespace loopfs::mounter
