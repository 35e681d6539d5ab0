#include "varlink/json.h"

namespace loopfs::varlink {

Result<Json> parse_object(std::string_view text) {
  bool allowed = true;
  const auto filter = [&allowed](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && depth >= kMaxDepth) allowed = false;
    if (event == Event::key || event == Event::value) {
      const auto* string = parsed.get_ptr<const std::string*>();
      if (string && string->find('\0') != std::string::npos) allowed = false;
    }
    return allowed;  // false: the part is dropped, so that what is refused is not built up in memory
  };
  Json json = Json::parse(text.begin(), text.end(), filter, /*allow_exceptions=*/false);
  if (!allowed) return fail(EBADMSG, "JSON too deep, or NUL in a string");
  if (!json.is_object()) return fail(EBADMSG, "not a JSON object");
  return json;
}

Result<std::string> serialize(const Json& json, NotUtf8 policy) {
  const auto handler =
      policy == NotUtf8::kReplace ? Json::error_handler_t::replace : Json::error_handler_t::strict;
  try {
    return json.dump(-1, ' ', false, handler);
  } catch (const Json::exception& error) {
    return fail(EILSEQ, "write JSON: {}", error.what());
  }
}

}  // namespace loopfs::varlink
