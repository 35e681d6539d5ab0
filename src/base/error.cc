#include "base/error.h"

#include <cstring>

namespace loopfs::base {

std::string Error::message() const {
  if (code == 0) return what;
  return fmt::format("{}: {}", what, strerrordesc_np(code) ? strerrordesc_np(code) : "Unknown error");
}

}  // namespace loopfs::base
