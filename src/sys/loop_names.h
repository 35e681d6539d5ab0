// Loop devices that are named where a process can see it, whoever's they are.
#pragma once

#include <cstdint>
#include <set>
#include <string_view>

namespace loopfs::sys {

// The numbers N of "/dev/loopN" and its partitions, and of block devices 7:N, in the text of /proc/PID/mountinfo or
// /proc/swaps.
std::set<uint32_t> parse_loop_numbers(std::string_view text);

// Of the calling process's mount table, and of what the machine swaps to. A device with such a number would be taken for
// the one that is mounted there: by mkfs(8), which refuses it, and by umount(8), which picks the other's mount.
std::set<uint32_t> loop_numbers_in_use();

}  // namespace loopfs::sys
