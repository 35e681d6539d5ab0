#include "keeper/wire.h"

#include <cstring>
#include <optional>

namespace loopfs::keeper {
namespace {

struct Header {
  uint32_t act;
  int32_t code;
  uint32_t records;
};

struct RecordHeader {
  uint32_t name;     // bytes
  uint32_t payload;  // bytes
  uint32_t fds;
};

// Writes at the front of `room` and takes that off it.
void write(std::span<std::byte>& room, const void* from, size_t size) {
  if (size > 0) std::memcpy(room.data(), from, size);
  room = room.subspan(size);
}

// Takes `size` bytes off the front.
std::optional<std::string_view> take(std::span<const std::byte>& bytes, size_t size) {
  if (size > bytes.size()) return std::nullopt;
  const std::string_view taken(reinterpret_cast<const char*>(bytes.data()), size);
  bytes = bytes.subspan(size);
  return taken;
}

template <typename T>
bool take_value(std::span<const std::byte>& bytes, T& value) {
  const auto taken = take(bytes, sizeof value);
  if (taken) std::memcpy(&value, taken->data(), sizeof value);
  return taken.has_value();
}

}  // namespace

size_t encoded_size(const Record& record) {
  return sizeof(RecordHeader) + record.name.size() + record.payload.size();
}

std::vector<std::byte> encode(const Note& note) {
  size_t size = sizeof(Header);
  for (const Record& record : note.records) size += encoded_size(record);
  std::vector<std::byte> bytes(size);
  std::span<std::byte> room(bytes);
  const Header header{static_cast<uint32_t>(note.act), note.code, static_cast<uint32_t>(note.records.size())};
  write(room, &header, sizeof header);
  for (const Record& record : note.records) {
    const RecordHeader lengths{static_cast<uint32_t>(record.name.size()),
                               static_cast<uint32_t>(record.payload.size()), record.fds};
    write(room, &lengths, sizeof lengths);
    write(room, record.name.data(), record.name.size());
    write(room, record.payload.data(), record.payload.size());
  }
  return bytes;
}

Result<Note> parse(std::span<const std::byte> bytes) {
  Header header;
  if (!take_value(bytes, header)) return fail(EPROTO, "a keeper's message without a header");
  Note note{static_cast<Act>(header.act), header.code, {}};
  for (uint32_t i = 0; i < header.records; ++i) {
    RecordHeader lengths;
    if (!take_value(bytes, lengths)) return fail(EPROTO, "a keeper's message that is cut off");
    const auto name = take(bytes, lengths.name);
    const auto payload = name ? take(bytes, lengths.payload) : std::nullopt;
    if (!payload) return fail(EPROTO, "a keeper's message that is cut off");
    note.records.push_back({*name, *payload, lengths.fds});
  }
  if (!bytes.empty()) return fail(EPROTO, "a keeper's message with {} bytes too many", bytes.size());
  return note;
}

}  // namespace loopfs::keeper
