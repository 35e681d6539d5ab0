// What a fuzzer gives us, taken apart from its front. Once it is used up, everything is zero.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace loopfs::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }

  template <typename T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    const std::string_view part = bytes(sizeof value);
    if (!part.empty()) std::memcpy(&value, part.data(), part.size());
    return value;
  }
  uint8_t byte() { return take<uint8_t>(); }
  // 0 to `bound` - 1, from one byte: `bound` is at most 256.
  size_t below(size_t bound) { return byte() % bound; }
  template <typename T, size_t N>
  const T& one_of(const T (&choices)[N]) {
    return choices[below(N)];
  }

  // At most `size` bytes.
  std::string_view bytes(size_t size) {
    const std::string_view part = rest_.substr(0, size);
    rest_.remove_prefix(part.size());
    return part;
  }
  // As many as the next two bytes say.
  std::string_view counted() { return bytes(take<uint16_t>()); }
  std::string_view rest() { return bytes(rest_.size()); }

  // Fills all of it; with zeroes where the input ends.
  void fill(std::span<std::byte> room) {
    std::ranges::fill(room, std::byte{});
    const std::string_view part = bytes(room.size());
    if (!part.empty()) std::memcpy(room.data(), part.data(), part.size());
  }

 private:
  std::string_view rest_;
};

}  // namespace loopfs::fuzz
