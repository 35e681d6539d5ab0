#include "kernel/kernel_features.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "sys/loop_device.h"
#include "sys/loop_probe.h"

namespace loopfs::kernel {
namespace {

// One Linux partition from sector 1 on, in a master boot record.
std::array<unsigned char, 512> one_partition() {
  std::array<unsigned char, 512> sector{};
  sector[446 + 4] = 0x83;
  sector[446 + 8] = 1;
  sector[446 + 12] = 8;
  sector[510] = 0x55;
  sector[511] = 0xaa;
  return sector;
}

}  // namespace

Result<KernelFeatures> probe_kernel(DevicePool& pool) {
  const Fd image(::memfd_create("loopfs-probe", MFD_CLOEXEC));
  const auto sector = one_partition();
  if (!image.valid() || ::ftruncate(image.get(), 1 << 20) != 0 ||
      ::pwrite(image.get(), sector.data(), sector.size(), 0) != static_cast<ssize_t>(sector.size())) {
    return errno_fail("make an image");
  }
  auto claim = pool.take(O_RDONLY);
  if (!claim) return propagate(claim);
  loop_config config{};
  config.fd = static_cast<uint32_t>(image.get());
  config.info.lo_flags = LO_FLAGS_PARTSCAN | LO_FLAGS_READ_ONLY;
  const int device = claim->device.get();
  if (auto bound = sys::configure_loop_device(device, config); !bound) return propagate(bound);
  KernelFeatures features;
  features.reads_partitions = !sys::loop_partition_numbers(claim->number).empty();
  features.clears_at_last_close = sys::clears_at_last_close(device, config).value_or(false);
  claim->device.reset();
  pool.give_back(claim->number);
  return features;
}

}  // namespace loopfs::kernel
