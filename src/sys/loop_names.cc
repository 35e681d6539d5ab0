#include "sys/loop_names.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

namespace loopfs::sys {
namespace {

constexpr std::string_view kName = "/dev/loop", kDevice = "7:";

bool is_separator(char character) {
  return character == ' ' || character == '\t' || character == '\n';
}

// The number after each `prefix` that starts a word.
void collect(std::string_view text, std::string_view prefix, std::set<uint32_t>& numbers) {
  for (size_t at = 0; (at = text.find(prefix, at)) != std::string_view::npos;) {
    const bool starts_word = at == 0 || is_separator(text[at - 1]);
    at += prefix.size();
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), number);
    if (!starts_word || error != std::errc()) continue;
    const bool ends = end == text.data() + text.size() || is_separator(*end) || *end == 'p';
    if (ends) numbers.insert(number);
  }
}

std::string content_of(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

std::set<uint32_t> parse_loop_numbers(std::string_view text) {
  std::set<uint32_t> numbers;
  collect(text, kName, numbers);
  collect(text, kDevice, numbers);
  return numbers;
}

std::set<uint32_t> loop_numbers_in_use() {
  return parse_loop_numbers(content_of("/proc/self/mountinfo") + content_of("/proc/swaps"));
}

}  // namespace loopfs::sys
