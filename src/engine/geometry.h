// HDIO_GETGEO, which the kernel's loop devices do not answer.
#pragma once

#include <linux/hdreg.h>

#include <cstdint>

namespace loopfs::engine {

// Of a partition: where it starts, which GRUB asks for here when udevadm(8) does not tell (it reads nothing in /sys that is
// not of the kernel's own making), and the heads and sectors that fdisk(8), parted(8) and mkfs.fat(8) take when a
// device has none to tell. Of a whole device there is none: ENOTTY.
inline hd_geometry geometry_of(uint64_t start, uint64_t size) {
  constexpr uint64_t kHeads = 255, kSectors = 63, kBytes = 512;
  hd_geometry geometry{};
  geometry.heads = kHeads;
  geometry.sectors = kSectors;
  geometry.cylinders = static_cast<unsigned short>(size / kBytes / (kHeads * kSectors));
  geometry.start = start / kBytes;
  return geometry;
}

}  // namespace loopfs::engine
