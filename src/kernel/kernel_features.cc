#include "kernel/kernel_features.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <vector>

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

Result<Fd> make_image() {
  Fd image(::memfd_create("loopfs-probe", MFD_CLOEXEC));
  const auto sector = one_partition();
  if (!image.valid() || ::ftruncate(image.get(), 1 << 20) != 0 ||
      ::pwrite(image.get(), sector.data(), sector.size(), 0) != static_cast<ssize_t>(sector.size())) {
    return errno_fail("make an image");
  }
  return image;
}

// Sees on the way whether the kernel finds partitions.
class Probe final : public sys::KernelProbeDevice {
 public:
  Probe(const DevicePool::Claim& claim, const loop_config& config, bool* reads_partitions)
      : KernelProbeDevice(claim.device.get(), config),
        number_(claim.number),
        reads_partitions_(reads_partitions) {}
  Result<void> bind() override {
    auto bound = KernelProbeDevice::bind();
    if (bound && !sys::loop_partition_numbers(number_).empty()) *reads_partitions_ = true;
    return bound;
  }

 private:
  const uint32_t number_;
  bool* const reads_partitions_;
};

}  // namespace

Result<KernelFeatures> probe_kernel(DevicePool& pool) {
  const auto image = make_image();
  if (!image) return propagate(image);
  loop_config config{};
  config.fd = static_cast<uint32_t>(image->get());
  config.info.lo_flags = LO_FLAGS_PARTSCAN | LO_FLAGS_READ_ONLY;
  KernelFeatures features;
  std::vector<uint32_t> used;  // given back at the end only, so that each try has another
  const auto attempt = [&](const std::function<void()>& settle) -> Result<sys::LastClose> {
    const auto claim = pool.take(O_RDONLY);
    if (!claim) return propagate(claim);
    used.push_back(claim->number);
    settle();
    Probe device(*claim, config, &features.reads_partitions);
    return sys::try_last_close(device);
  };
  const auto clears = sys::clears_at_last_close(attempt, sys::patient_pause());
  for (const uint32_t number : used) {
    if (!sys::loop_facts(number)) pool.give_back(number);  // else it is bound until somebody else closes it
  }
  if (!clears) return propagate(clears);
  features.clears_at_last_close = *clears;
  return features;
}

}  // namespace loopfs::kernel
