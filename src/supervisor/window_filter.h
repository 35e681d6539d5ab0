// The part of a sandbox's seccomp filter that every fstat(2) passes.
#pragma once

#include <linux/filter.h>

#include <vector>

namespace loopfs::supervisor {

// To be put before a filter that decides about all other calls: fstat(2), ftruncate(2), and newfstatat(2) and statx(2)
// of a descriptor itself, are for the listener if the descriptor is one of the window (descriptor_window.h), and else allowed. Written by
// hand, since these calls are made so often: libseccomp's order of comparisons was measured at 0.45 us a call.
std::vector<sock_filter> window_filter();

}  // namespace loopfs::supervisor
