// Arguments of ioctls, once from the caller, once to it.
#pragma once

#include <linux/ioctl.h>

#include <cstring>
#include <type_traits>

#include "engine/caller.h"

namespace loopfs::engine {

template <typename T>
Result<T> read_user(const Caller& caller, uint64_t address) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  if (auto done = caller.read(address, std::as_writable_bytes(std::span(&value, 1))); !done) {
    return fail(EFAULT, "read the argument");
  }
  return value;
}

template <typename T>
Result<void> write_user(const Caller& caller, uint64_t address, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (auto done = caller.write(address, std::as_bytes(std::span(&value, 1))); !done) {
    return fail(EFAULT, "write the argument");
  }
  return {};
}

// The value that the argument points to: from the transport if the command's number has a size.
template <typename T>
Result<T> get_argument(const IoctlRequest& request, const Caller& caller) {
  if (_IOC_SIZE(request.command) == 0) return read_user<T>(caller, request.argument);
  if (request.input.size() < sizeof(T)) return fail(EFAULT, "read the argument");
  T value;
  std::memcpy(&value, request.input.data(), sizeof value);
  return value;
}

template <typename T>
Result<int> put_argument(IoctlRequest& request, const Caller& caller, const T& value) {
  // The number of a 32-bit program's BLKGETSIZE64 says four bytes, but it has eight.
  if (_IOC_SIZE(request.command) < sizeof(T)) {
    auto written = write_user(caller, request.argument, value);
    if (!written) return propagate(written);
    return 0;
  }
  const auto bytes = std::as_bytes(std::span(&value, 1));
  request.output.assign(bytes.begin(), bytes.end());
  return 0;
}

// A `long`, which has four bytes in a 32-bit program.
inline Result<int> put_long(IoctlRequest& request, const Caller& caller, uint64_t value) {
  if (request.compat) return put_argument(request, caller, static_cast<uint32_t>(value));
  return put_argument(request, caller, value);
}

}  // namespace loopfs::engine
