// What the keeper keeps for the server, and how much of it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/fd.h"

namespace loopfs::keeper {

inline constexpr size_t kLongestName = 255;       // bytes; at least one
inline constexpr size_t kLargestPayload = 32768;  // bytes
inline constexpr size_t kMostFdsOfItem = 8;
inline constexpr size_t kMostItems = 65536;
inline constexpr size_t kMostBytes = size_t{256} << 20;  // names and payloads of all items

// The item that holds Options::inherited.
inline constexpr const char* kListenItem = "listen";

struct Item {
  std::string name;
  std::string payload;  // bytes
  std::vector<Fd> fds;
};

}  // namespace loopfs::keeper
