// The image that a FUSE program is to serve: the caller's, and not trusted.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/fd.h"
#include "mounter/caller_side.h"

namespace loopfs::mounter {

struct Image {
  Fd own;  // if opened here
  int fd = -1;
  uint64_t offset = 0, size = 0;
};

// How long a program may take to check its image and to answer.
inline constexpr int kSecondsToStart = 60;

// Of a kMount request. The worker stays where it is, since its program wants the host's files: children enter the caller's
// namespaces. Errors: those of open(2), EAGAIN the device's name leads elsewhere by now.
Result<Image> open_image(const Request& request, const CallerSide& caller);

// Whether the image has a file system that the type asked for accepts, and the target is there. libblkid reads hostile
// bytes: it does so in a child that can do no more than the sandbox itself. Errors: EINVAL, those of the target.
Result<void> check_image(const Request& request, const CallerSide& caller, const Image& image);

}  // namespace loopfs::mounter
