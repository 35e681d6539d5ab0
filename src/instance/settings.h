// What LOOP_CONFIGURE and LOOP_SET_STATUS set, and the rules for it (drivers/block/loop.c).
#pragma once

#include <linux/loop.h>

#include <array>
#include <cstdint>

#include "base/error.h"

namespace loopfs::instance {

constexpr uint32_t kSectorSize = 512;
constexpr uint32_t kLargestBlockSize = 65536;  // BLK_MAX_BLOCK_SIZE

struct Settings {
  uint64_t offset = 0;     // bytes
  uint64_t sizelimit = 0;  // bytes; 0: none
  std::array<char, LO_NAME_SIZE> file_name = {};
  uint32_t flags = 0;  // LO_FLAGS_*
};

// loop_set_status_from_info: everything of `info` but its flags. Errors: EINVAL encryption, EOVERFLOW.
Result<void> apply_info(Settings& settings, const loop_info64& info);

// The flags that LOOP_CONFIGURE takes. Errors: EINVAL for any other.
Result<void> check_configure_flags(uint32_t flags);

// LOOP_SET_STATUS changes only some flags and ignores the rest.
uint32_t flags_after_set_status(uint32_t flags, uint32_t wanted);

// A power of two from 512 to 64 KiB. Errors: EINVAL.
Result<void> check_block_size(uint64_t size);

// Bytes of a device on a file of `file_size` bytes: whole sectors, 0 if the offset is past the end.
uint64_t device_size(uint64_t file_size, uint64_t offset, uint64_t sizelimit);

// Whether two devices on the same file share bytes of it. A limit of 0: none.
bool ranges_overlap(uint64_t offset, uint64_t sizelimit, uint64_t other_offset, uint64_t other_sizelimit);

// The old form of LOOP_SET_STATUS and LOOP_GET_STATUS. Errors: EOVERFLOW if a value does not fit.
loop_info64 from_old_info(const loop_info& info);
Result<loop_info> to_old_info(const loop_info64& info);

}  // namespace loopfs::instance
