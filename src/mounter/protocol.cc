#include "mounter/protocol.h"

#include <nlohmann/json.hpp>

namespace loopfs::mounter {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Request, operation, path, follow, flags, device, asked_type, source,
                                   executable, command, options, offset_option, device_path, image_device,
                                   image_inode, offset, size, attributes, read_only, synchronous, replace,
                                   notification)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Reply, error, line, device, node, inode, mode, on_fuse, mount_root)

namespace {

// MessagePack: its strings may hold any bytes, as paths do.
template <typename T>
std::vector<std::byte> pack(const T& value) {
  const auto packed = nlohmann::json::to_msgpack(nlohmann::json(value));
  const auto bytes = std::as_bytes(std::span(packed));
  return {bytes.begin(), bytes.end()};
}

// Refuses what is nested deeper than any message of ours: the library recurses, in some builds to the end of the stack.
class Shallow final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ <= kMostDepth; }
  bool start_array(size_t) override { return ++depth_ <= kMostDepth; }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

 private:
  static constexpr int kMostDepth = 4;
  int depth_ = 0;
};

template <typename T>
Result<T> unpack(std::span<const std::byte> bytes) {
  try {
    const auto* first = reinterpret_cast<const uint8_t*>(bytes.data());
    Shallow shallow;
    if (!nlohmann::json::sax_parse(first, first + bytes.size(), &shallow,
                                   nlohmann::json::input_format_t::msgpack))
      return fail(EBADMSG, "decode a message of the agent");
    return nlohmann::json::from_msgpack(first, first + bytes.size()).template get<T>();
  } catch (const nlohmann::json::exception& error) {
    return fail(EBADMSG, "decode a message of the agent: {}", error.what());
  }
}

}  // namespace

std::vector<std::byte> encode(const Request& request) {
  return pack(request);
}
Result<Request> decode_request(std::span<const std::byte> bytes) {
  return unpack<Request>(bytes);
}
std::vector<std::byte> encode(const Reply& reply) {
  return pack(reply);
}
Result<Reply> decode_reply(std::span<const std::byte> bytes) {
  return unpack<Reply>(bytes);
}

}  // namespace loopfs::mounter
