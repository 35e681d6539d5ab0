#include "mounter/probe.h"

#include <blkid/blkid.h>
#include <endian.h>
#include <unistd.h>

#include <cstring>
#include <memory>

namespace loopfs::mounter {
namespace {

constexpr uint64_t kExtSuperblock = 1024;  // byte offset; the layout is that of ext4's on-disk format

Result<void> check_ext_size(int image, uint64_t offset, uint64_t size) {
  unsigned char block[512];
  if (::pread(image, block, sizeof block, static_cast<off_t>(offset + kExtSuperblock)) != sizeof block) {
    return fail(EINVAL, "read the superblock");
  }
  const auto word = [&](size_t at) {
    uint32_t value;
    std::memcpy(&value, block + at, sizeof value);
    return uint64_t{le32toh(value)};
  };
  const uint64_t shift = 10 + word(0x18);
  const bool wide = (word(0x60) & 0x80) != 0;  // INCOMPAT_64BIT
  const uint64_t blocks = word(0x04) + (wide ? word(0x150) << 32 : 0);
  if (shift > 16) return fail(EINVAL, "block size of 2^{}", shift);
  if (blocks > (size >> shift))
    return fail(EINVAL, "file system of {} blocks on a device of {}", blocks, size >> shift);
  return {};
}

}  // namespace

Result<std::string> probe_filesystem(int image, uint64_t offset, uint64_t size) {
  const std::unique_ptr<blkid_struct_probe, void (*)(blkid_probe)> probe(::blkid_new_probe(),
                                                                         ::blkid_free_probe);
  if (!probe || ::blkid_probe_set_device(probe.get(), image, static_cast<blkid_loff_t>(offset),
                                         static_cast<blkid_loff_t>(size)) != 0) {
    return fail(EINVAL, "probe the file system");
  }
  ::blkid_probe_enable_superblocks(probe.get(), 1);
  ::blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
  const char* type = nullptr;
  if (::blkid_do_safeprobe(probe.get()) != 0 ||
      ::blkid_probe_lookup_value(probe.get(), "TYPE", &type, nullptr) != 0) {
    return fail(EINVAL, "no file system, or more than one, found");
  }
  const std::string found = type;
  if (found == "ext2" || found == "ext3" || found == "ext4") {
    if (auto checked = check_ext_size(image, offset, size); !checked) return propagate(checked);
  }
  return found;
}

bool is_known_filesystem(const std::string& type) {
  return ::blkid_known_fstype(type.c_str()) != 0;
}

}  // namespace loopfs::mounter
