// What a process has open, when it is about to end with threads that hang.
#pragma once

#include <chrono>

namespace loopfs::sys {

// Of a process that is about to end and has threads that may hang: what its descriptors from `first` on refer to is closed, by
// several threads, since each close may hang, too. The numbers stay taken, by something with which everything fails: other
// threads may still run, and must not meet another file under the same number. Those of /dev/fuse first, so that nobody
// gets an answer that only this has made. False: some hang, after `patience`.
bool give_up_descriptors(unsigned first, std::chrono::milliseconds patience);

}  // namespace loopfs::sys
