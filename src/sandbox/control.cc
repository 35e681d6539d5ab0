#include "sandbox/control.h"

#include <algorithm>
#include <cstring>

#include "sys/message.h"

namespace loopfs::sandbox {
namespace {

struct Header {
  Act act;
  int32_t value;
  uint64_t device;
};

constexpr size_t kLongestText = 4096;

}  // namespace

Result<void> send_note(int socket, Act act, int32_t value, std::span<const int> fds, uint64_t device,
                       const std::string& text) {
  const Header header{act, value, device};
  std::vector<std::byte> bytes(sizeof header + std::min(text.size(), kLongestText));
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, text.data(), bytes.size() - sizeof header);
  return sys::send_message(socket, bytes, fds);
}

Result<void> send_failure(int socket, const Error& error) {
  return send_note(socket, Act::kFailed, error.code, {}, 0, error.what);
}

Result<std::optional<Note>> receive_note(int socket) {
  auto message = sys::receive_message(socket, sizeof(Header) + kLongestText);
  if (!message) return propagate(message);
  if (!*message) return std::nullopt;
  const std::vector<std::byte>& bytes = (*message)->bytes;
  if (bytes.size() < sizeof(Header)) return fail(EPROTO, "receive a note");
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  Note note{header.act, header.value, header.device, {}, std::move((*message)->fds)};
  note.text.assign(reinterpret_cast<const char*>(bytes.data()) + sizeof header, bytes.size() - sizeof header);
  return note;
}

}  // namespace loopfs::sandbox
