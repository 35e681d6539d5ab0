// Text that somebody else has chosen, made fit to be shown.
#pragma once

#include <string>
#include <string_view>

namespace loopfs::base {

// Bytes that are not part of valid UTF-8 become "\xNN". All else stays, the backslash too.
std::string to_utf8(std::string_view text);

// As to_utf8(); control characters, and those that change the direction or end the line, are escaped, too: what
// comes out can do nothing to a terminal and is one line.
std::string to_printable(std::string_view text);

}  // namespace loopfs::base
