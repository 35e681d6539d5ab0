#include "porter/wire.h"

#include <algorithm>
#include <cstring>

#include "sys/message.h"

namespace loopfs::porter {
namespace {

constexpr size_t kLargest = 128 << 10;

template <typename Head>
Result<void> send_packet(int socket, const Head& head, std::span<const std::byte> bytes,
                         std::span<const int> fds) {
  const auto start = std::as_bytes(std::span(&head, 1));
  std::vector<std::byte> all(start.begin(), start.end());
  all.insert(all.end(), bytes.begin(), bytes.end());
  return sys::send_message(socket, all, fds);
}

template <typename Head>
Result<Packet> receive_packet(int socket, Head& head) {
  auto message = sys::receive_message(socket, kLargest);
  if (!message) return propagate(message);
  if (!*message) return fail(EPIPE, "the other end is gone");
  auto& bytes = (*message)->bytes;
  if (bytes.size() < sizeof head) return fail(EPROTO, "a message of {} bytes", bytes.size());
  std::memcpy(&head, bytes.data(), sizeof head);
  bytes.erase(bytes.begin(), bytes.begin() + sizeof head);
  return Packet{std::move(bytes), std::move((*message)->fds)};
}

}  // namespace

Result<void> send(int socket, const Order& order, std::span<const std::byte> bytes,
                  std::span<const int> fds) {
  return send_packet(socket, order, bytes, fds);
}

Result<void> send(int socket, const Answer& answer, std::span<const std::byte> bytes,
                  std::span<const int> fds) {
  return send_packet(socket, answer, bytes, fds);
}

Result<Packet> receive(int socket, Order& order) {
  return receive_packet(socket, order);
}

Result<Packet> receive(int socket, Answer& answer) {
  return receive_packet(socket, answer);
}

std::vector<std::byte> join_words(const std::vector<std::string>& words) {
  std::vector<std::byte> bytes;
  for (const std::string& word : words) {
    const auto piece = std::as_bytes(std::span(word.c_str(), word.size() + 1));
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  }
  return bytes;
}

std::vector<std::string> split_words(std::span<const std::byte> bytes) {
  std::vector<std::string> words;
  while (!bytes.empty()) {
    const auto end = std::ranges::find(bytes, std::byte{0});
    words.emplace_back(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(end - bytes.begin()));
    if (end == bytes.end()) break;
    bytes = bytes.subspan(words.back().size() + 1);
  }
  return words;
}

}  // namespace loopfs::porter
