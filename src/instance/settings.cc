#include "instance/settings.h"

#include <bit>
#include <climits>
#include <cstring>

namespace loopfs::instance {
namespace {

constexpr uint32_t kConfigureFlags =
    LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO;
constexpr uint32_t kSetStatusFlags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
constexpr uint32_t kClearStatusFlags = LO_FLAGS_AUTOCLEAR;

}  // namespace

Result<void> apply_info(Settings& settings, const loop_info64& info) {
  if (info.lo_encrypt_key_size > LO_KEY_SIZE)
    return fail(EINVAL, "key of {} bytes", info.lo_encrypt_key_size);
  if (info.lo_encrypt_type != LO_CRYPT_NONE) return fail(EINVAL, "encryption {}", info.lo_encrypt_type);
  if (info.lo_offset > LLONG_MAX || info.lo_sizelimit > LLONG_MAX) {
    return fail(EOVERFLOW, "offset {}, sizelimit {}", uint64_t{info.lo_offset}, uint64_t{info.lo_sizelimit});
  }
  settings.offset = info.lo_offset;
  settings.sizelimit = info.lo_sizelimit;
  std::memcpy(settings.file_name.data(), info.lo_file_name, LO_NAME_SIZE);
  settings.file_name.back() = 0;
  return {};
}

Result<void> check_configure_flags(uint32_t flags) {
  if (flags & ~kConfigureFlags) return fail(EINVAL, "flags {:#x}", flags);
  return {};
}

uint32_t flags_after_set_status(uint32_t flags, uint32_t wanted) {
  return (flags & ~kClearStatusFlags) | (wanted & kSetStatusFlags);
}

Result<void> check_block_size(uint64_t size) {
  if (size < kSectorSize || size > kLargestBlockSize || !std::has_single_bit(size)) {
    return fail(EINVAL, "block size {}", size);
  }
  return {};
}

uint64_t device_size(uint64_t file_size, uint64_t offset, uint64_t sizelimit) {
  if (offset >= file_size) return 0;
  uint64_t size = file_size - offset;
  if (sizelimit > 0 && sizelimit < size) size = sizelimit;
  return size / kSectorSize * kSectorSize;
}

bool ranges_overlap(uint64_t offset, uint64_t sizelimit, uint64_t other_offset, uint64_t other_sizelimit) {
  const auto ends_before = [](uint64_t from, uint64_t limit, uint64_t start) {
    return limit != 0 && from <= start && limit <= start - from;
  };
  return !ends_before(offset, sizelimit, other_offset) && !ends_before(other_offset, other_sizelimit, offset);
}

loop_info64 from_old_info(const loop_info& info) {
  loop_info64 result{};
  result.lo_number = static_cast<uint32_t>(info.lo_number);
  result.lo_device = info.lo_device;
  result.lo_inode = info.lo_inode;
  result.lo_rdevice = info.lo_rdevice;
  result.lo_offset = static_cast<uint64_t>(int64_t{info.lo_offset});  // negative: too large, EOVERFLOW
  result.lo_sizelimit = 0;
  result.lo_encrypt_type = static_cast<uint32_t>(info.lo_encrypt_type);
  result.lo_encrypt_key_size = static_cast<uint32_t>(info.lo_encrypt_key_size);
  result.lo_flags = static_cast<uint32_t>(info.lo_flags);
  std::memcpy(result.lo_file_name, info.lo_name, LO_NAME_SIZE);
  return result;
}

Result<loop_info> to_old_info(const loop_info64& info) {
  loop_info result{};
  result.lo_number = static_cast<int>(info.lo_number);
  result.lo_device = static_cast<decltype(result.lo_device)>(info.lo_device);
  result.lo_inode = info.lo_inode;
  result.lo_rdevice = static_cast<decltype(result.lo_rdevice)>(info.lo_rdevice);
  result.lo_offset = static_cast<int>(info.lo_offset);
  result.lo_flags = static_cast<decltype(result.lo_flags)>(info.lo_flags);
  std::memcpy(result.lo_name, info.lo_file_name, LO_NAME_SIZE);
  if (result.lo_device != info.lo_device || result.lo_rdevice != info.lo_rdevice ||
      result.lo_inode != info.lo_inode || result.lo_offset < 0 ||
      static_cast<uint64_t>(result.lo_offset) != info.lo_offset) {
    return fail(EOVERFLOW, "loop_info");
  }
  return result;
}

}  // namespace loopfs::instance
