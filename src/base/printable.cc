#include "base/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace loopfs::base {
namespace {

struct Character {
  size_t length = 0;  // bytes; 0: no valid UTF-8
  uint32_t code = 0;
};

// Strict, as RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
Character first_of(std::string_view text) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(text[at]); };
  if (byte(0) < 0x80) return {1, byte(0)};
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return {};
  uint32_t code = byte(0) & (0xffU >> (length + 1));
  for (size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(at) & 0x3fU);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {length, code};
}

bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

std::string escape(std::string_view text, bool controls) {
  std::string escaped;
  while (!text.empty()) {
    const Character character = first_of(text);
    if (character.length > 0 && !(controls && is_control(character.code))) {
      escaped += text.substr(0, character.length);
    } else if (character.code < 0x80) {
      fmt::format_to(std::back_inserter(escaped), "\\x{:02x}", static_cast<uint8_t>(text.front()));
    } else {
      fmt::format_to(std::back_inserter(escaped), "\\u{:04x}", character.code);
    }
    text.remove_prefix(character.length > 0 ? character.length : 1);
  }
  return escaped;
}

}  // namespace

std::string to_utf8(std::string_view text) {
  return escape(text, false);
}

std::string to_printable(std::string_view text) {
  return escape(text, true);
}

}  // namespace loopfs::base
