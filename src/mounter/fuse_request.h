// What a FUSE program's mount(2) asks for, and the mount that it gets.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/protocol.h"

namespace loopfs::mounter {

struct FuseRequest {
  int number = -1;  // of `channel` in the process that serves
  Fd channel;       // the program's /dev/fuse
  mode_t root_mode = S_IFDIR;
  uint64_t max_read = 0;
};

// "fd=4,rootmode=40000,user_id=0,group_id=0,max_read=131072". No channel yet.
FuseRequest fuse_of(const std::string& data);

// A detached mount of what is served at the channel, in the user namespace that the worker is in.
Result<Fd> make_fuse_mount(const Request& request, const FuseRequest& fuse);

}  // namespace loopfs::mounter
