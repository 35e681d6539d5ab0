// What a FUSE program has not written yet.
#pragma once

#include <string>

namespace loopfs::mounter {

// Asks the program that serves the file system mounted at `path` to write what it holds back, as far as it
// can be asked: FUSE has no syncfs(2) for such programs, and fuse2fs writes only at an fsync(2) of a file
// that is open for writing. So besides the folder itself one of its files is synchronised, if there is one
// near the top. Nothing of the file system is changed.
void flush_program(const std::string& path);

}  // namespace loopfs::mounter
