#include "keeper/store.h"

#include <fcntl.h>

namespace loopfs::keeper {
namespace {

constexpr size_t kShortAnswer = 64;
constexpr size_t kLongAnswer = 65536;
constexpr unsigned kMostUnread = 16;  // far fewer than the socket holds

std::string subject_of(Act act, std::string_view name) {
  switch (act) {
    case Act::kPut:
      return fmt::format("keep '{}'", name);
    case Act::kSetPayload:
      return fmt::format("keep a new payload of '{}'", name);
    case Act::kDrop:
    case Act::kDropNow:
      return fmt::format("drop '{}'", name);
    case Act::kReady:
      return "say that the server is ready";
    default:
      return "load what was kept";
  }
}

Result<void> check_size(const Record& record) {
  if (record.fds > kMostFdsOfItem)
    return fail(EMSGSIZE, "keep '{}': {} descriptors", record.name, record.fds);
  if (record.name.size() <= kLongestName && record.payload.size() <= kLargestPayload) return {};
  return fail(EMSGSIZE, "keep {} bytes as {} bytes of name", record.payload.size(), record.name.size());
}

// Moves the records and their fds to the end of `items`.
Result<void> append_items(sys::Message& message, const Note& note, std::vector<Item>& items) {
  size_t next = 0;
  for (const Record& record : note.records) {
    if (record.fds > message.fds.size() - next) return fail(EPROTO, "'{}' lacks a descriptor", record.name);
    Item& item = items.emplace_back(Item{std::string(record.name), std::string(record.payload), {}});
    for (uint32_t i = 0; i < record.fds; ++i) item.fds.push_back(std::move(message.fds[next++]));
  }
  return {};
}

}  // namespace

Store::Store(Fd socket) : socket_(std::move(socket)) {
  ::fcntl(socket_.get(), F_SETFD, FD_CLOEXEC);
}

Result<std::vector<Item>> Store::load() {
  const std::lock_guard lock(mutex_);
  std::vector<Item> items;
  for (;;) {
    const std::string after = items.empty() ? std::string() : items.back().name;
    auto message = exchange(Act::kLoad, {after, {}, 0}, {}, kLongAnswer);
    // The keeper sends no more than fits, so what was cut off are the descriptors.
    if (!message && message.error().code == EMSGSIZE)
      return fail(EMFILE, "load what was kept after '{}'", after);
    if (!message) return propagate(message);
    const auto note = parse(message->bytes);
    if (!note) return propagate(note);
    if (note->code != 0) return fail(note->code, "{}", subject_of(Act::kLoad, after));
    if (note->records.empty()) return items;
    if (auto appended = append_items(*message, *note, items); !appended) return propagate(appended);
  }
}

Result<void> Store::put(std::string_view name, std::string_view payload, std::span<const int> fds) {
  return ask(Act::kPut, {name, payload, static_cast<uint32_t>(fds.size())}, fds);
}

Result<void> Store::put_soon(std::string_view name, std::string_view payload, std::span<const int> fds) {
  return tell(Act::kPut, {name, payload, static_cast<uint32_t>(fds.size())}, fds);
}

Result<void> Store::drop_soon(std::string_view name) {
  return tell(Act::kDrop, {name, {}, 0});
}

Result<void> Store::set_payload(std::string_view name, std::string_view payload) {
  return ask(Act::kSetPayload, {name, payload, 0});
}

Result<void> Store::drop(std::string_view name) {
  return ask(Act::kDrop, {name, {}, 0});
}

Result<void> Store::drop_now(std::string_view name) {
  return ask(Act::kDropNow, {name, {}, 0});
}

Result<void> Store::ready() {
  return ask(Act::kReady, {});
}

Result<void> Store::ask(Act act, const Record& record, std::span<const int> fds) {
  if (auto fits = check_size(record); !fits) return fits;
  const std::lock_guard lock(mutex_);
  const auto message = exchange(act, record, fds, kShortAnswer);
  if (!message) return propagate(message, "{}", subject_of(act, record.name));
  const auto note = parse(message->bytes);
  if (!note) return propagate(note);
  if (note->code != 0) return fail(note->code, "{}", subject_of(act, record.name));
  return {};
}

Result<void> Store::tell(Act act, const Record& record, std::span<const int> fds) {
  const std::lock_guard lock(mutex_);
  return tell_locked(act, record, fds);
}

Result<void> Store::tell_locked(Act act, const Record& record, std::span<const int> fds) {
  if (auto fits = check_size(record); !fits) return fits;
  if (sent_ - answered_ >= kMostUnread) {
    if (auto read = read_answers(sent_); !read) return read;
  }
  if (auto sent = sys::send_message(socket_.get(), encode(Note{act, 0, {record}}), fds); !sent)
    return propagate(sent, "tell the keeper");
  ++sent_;
  return {};
}

Result<void> Store::read_answers(uint64_t until) {
  while (answered_ < until) {
    const auto message = receive(kShortAnswer);
    if (!message) return propagate(message);
    const auto awaited = awaited_.find(++answered_);
    if (awaited == awaited_.end()) continue;
    const auto note = parse(message->bytes);
    if (!note) return propagate(note);
    awaited->second = note->code;
  }
  return {};
}

Result<Store::Ticket> Store::put_ahead(std::string_view name, std::string_view payload,
                                       std::span<const int> fds) {
  const std::lock_guard lock(mutex_);
  if (auto told = tell_locked(Act::kPut, {name, payload, static_cast<uint32_t>(fds.size())}, fds); !told) {
    return propagate(told);
  }
  awaited_[sent_] = 0;
  return sent_;
}

Result<void> Store::answer(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  auto read = read_answers(ticket);
  const auto awaited = awaited_.extract(ticket);
  if (!read) return read;
  if (awaited.mapped() != 0) return fail(awaited.mapped(), "keep what was put ahead");
  return {};
}

Result<sys::Message> Store::exchange(Act act, const Record& record, std::span<const int> fds, size_t limit) {
  if (auto sent = sys::send_message(socket_.get(), encode(Note{act, 0, {record}}), fds); !sent)
    return propagate(sent, "ask the keeper");
  if (auto read = read_answers(sent_); !read) return propagate(read);
  return receive(limit);
}

Result<sys::Message> Store::receive(size_t limit) {
  auto message = sys::receive_message(socket_.get(), limit);
  // A keeper that ends with our request unread resets the connection.
  if (!message && message.error().code != ECONNRESET) return propagate(message, "the keeper's answer");
  if (!message || !*message) return fail(EPIPE, "the keeper is gone");
  return std::move(**message);
}

}  // namespace loopfs::keeper
