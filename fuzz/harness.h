// What all harnesses are made of. Each defines LLVMFuzzerTestOneInput(), which libFuzzer calls in the preset "fuzz",
// and replay.cc in all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace loopfs::fuzz {

// A rule that has to hold whatever the input is. Not assert(3): it counts in every build.
#define FUZZ_CHECK(condition) \
  ::loopfs::fuzz::check(static_cast<bool>(condition), #condition, __FILE__, __LINE__)

inline void check(bool holds, const char* condition, const char* file, int line) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  std::abort();
}

}  // namespace loopfs::fuzz
