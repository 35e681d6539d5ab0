// JSON text from and for the other end of a connection, without exceptions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace loopfs::varlink {

using Json = nlohmann::json;

// How deep objects and arrays may nest in what comes in: the writer of the library recurses.
inline constexpr int kMaxDepth = 32;

// One JSON object and nothing behind it. A string with a NUL in it is refused, as no handler expects one in a
// path or a name. Errors: EBADMSG, also for invalid UTF-8 and for nesting deeper than kMaxDepth.
Result<Json> parse_object(std::string_view text);

// What to do with strings that are not UTF-8, as paths may be.
enum class NotUtf8 { kRefuse, kReplace };

// Errors: EILSEQ.
Result<std::string> serialize(const Json& json, NotUtf8 policy = NotUtf8::kRefuse);

}  // namespace loopfs::varlink
