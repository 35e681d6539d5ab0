// What a trapped call's pointers lead to.
#pragma once

#include <span>

#include "supervisor/target.h"
#include "sys/remote_memory.h"

namespace loopfs::supervisor {

// Errors: EFAULT, also if the caller is gone.
template <typename T>
Result<T> read_argument(const Target& target, uint64_t address) {
  T value{};
  auto read =
      sys::read_memory(target.notification().tid, address, std::as_writable_bytes(std::span(&value, 1)));
  if (!read || !target.valid()) return fail(EFAULT, "read the argument");
  return value;
}

// What the call comes to.
template <typename T>
sys::CallResult write_argument(const Target& target, uint64_t address, const T& value) {
  auto written = sys::write_memory(target.notification().tid, address, std::as_bytes(std::span(&value, 1)));
  return sys::CallResult(written ? 0 : EFAULT);
}

}  // namespace loopfs::supervisor
