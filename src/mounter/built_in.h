// The FUSE programs that are known without any configuration.
#pragma once

#include <string_view>

namespace loopfs::mounter {

// As the tables [[program]] of loopfs.toml.
std::string_view built_in_programs();

}  // namespace loopfs::mounter
