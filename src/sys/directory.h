// Directories whose entries are numbers: those of proc(5) and sysfs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace loopfs::sys {

// The names that are a number behind `prefix`, lowest first. What comes and goes meanwhile may be missing; nothing, if
// there is no such directory.
std::vector<uint32_t> numbers_in(const std::string& path, std::string_view prefix = "");

}  // namespace loopfs::sys
