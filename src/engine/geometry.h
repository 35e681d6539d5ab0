// HDIO_GETGEO, which the kernel's loop devices do not answer.
#pragma once

#include <linux/hdreg.h>

#include <cstdint>

namespace loopfs::engine {

// Of a partition: where it starts, which GRUB asks for here when udevadm(8) does not tell. Nothing of heads and sectors:
// whoever asks for those finds none on a kernel's loop device either, and mkfs.fat(8) and mkntfs(8) write what they find.
// Of a whole device there is nothing to tell: ENOTTY.
inline hd_geometry geometry_of(uint64_t start) {
  constexpr uint64_t kBytes = 512;
  hd_geometry geometry{};
  geometry.start = start / kBytes;
  return geometry;
}

}  // namespace loopfs::engine
