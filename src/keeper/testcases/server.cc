// A server that does what the keeper's test says: keeper_server SOCKET [MODE]. The test speaks to it through
// the descriptor of item "listen": first the server says "hello PID", then it answers each command.
//   put NAME PAYLOAD   keeps the descriptors of the message     set NAME PAYLOAD, drop NAME, ready
//   soon N             keeps N without waiting for answers, and is killed
//   load               "NAME=PAYLOAD#FDS" of each item          get NAME   its descriptors
//   many N             keeps N items                            fds        how many descriptors are open
//   raw BYTES          a message to the keeper as it is         time N FDS microseconds of one put, of N
//   flood N            N requests before the answers are read   exit N     ends with that status
// Modes: "stubborn" ignores SIGTERM, SIGINT and SIGUSR1; "die" ends at once with status 3.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>

#include "keeper/keeper.h"
#include "keeper/store.h"
#include "sys/message.h"

namespace {

using namespace loopfs;
using keeper::Store;

void say(int socket, const std::string& text, std::span<const int> fds = {}) {
  if (!sys::send_message(socket, std::as_bytes(std::span(text)), fds)) ::_exit(9);
}

std::string text_of(const Result<void>& result) {
  return result ? "ok" : ::strerrorname_np(result.error().code);
}

std::vector<int> borrow(const std::vector<Fd>& fds) {
  std::vector<int> numbers;
  for (const Fd& fd : fds) numbers.push_back(fd.get());
  return numbers;
}

std::string list(Store& store) {
  auto items = store.load();
  if (!items) return items.error().message();
  std::string text;
  for (const auto& item : *items) text += fmt::format("{}={}#{};", item.name, item.payload, item.fds.size());
  return text.size() < 60000 ? text : fmt::format("{} items, {} bytes", items->size(), text.size());
}

std::string many(Store& store, int count) {
  for (int i = 0; i < count; ++i) {
    const int fds[] = {0};
    // With descriptors for some, so that messages end for different reasons.
    const auto put = store.put(fmt::format("item{:05}", i), std::string(static_cast<size_t>(i), 'x'),
                               std::span(fds, i % 3 == 0 ? 1 : 0));
    if (!put) return text_of(put);
  }
  return "ok";
}

// Does not live to see the answers.
std::string soon(Store& store, int count) {
  const int fds[] = {0};
  for (int i = 0; i < count; ++i) {
    if (!store.put_soon(fmt::format("soon{:05}", i), "x", std::span(fds, i % 3 == 0 ? 1 : 0)))
      return "failed";
  }
  if (!store.drop_soon("soon00000") || !store.drop_soon("none")) return "failed";
  if (!store.set_payload("soon00001", "asked")) return "failed";
  if (!store.put_soon("soon00002", "last", {})) return "failed";
  ::kill(::getpid(), SIGKILL);
  return "alive";
}

std::string time_of_put(Store& store, int count, size_t with_fds) {
  const auto start = std::chrono::steady_clock::now();
  const int fds[] = {0};
  for (int i = 0; i < count; ++i) {
    if (!store.put("timed", "payload", std::span(fds, with_fds))) return "failed";
  }
  const auto took = std::chrono::steady_clock::now() - start;
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(took).count() / count);
}

std::string raw(int keeper, const std::string& bytes) {
  if (!sys::send_message(keeper, std::as_bytes(std::span(bytes)))) return "not sent";
  auto message = sys::receive_message(keeper);
  if (!message || !*message) return "no answer";
  const auto note = keeper::parse((*message)->bytes);
  return note ? ::strerrorname_np(note->code) : "no note";
}

// More questions at once than answers have room.
std::string flood(int keeper, int count) {
  const auto question = keeper::encode({keeper::Act::kLoad, 0, {{}}});
  for (int i = 0; i < count; ++i) {
    if (!sys::send_message(keeper, question)) return "not sent";
  }
  for (int i = 0; i < count; ++i) {
    auto message = sys::receive_message(keeper);
    if (!message || !*message || !keeper::parse((*message)->bytes)) return "no answer";
  }
  return "ok";
}

std::string perform(Store& store, int keeper, const sys::Message& message) {
  std::istringstream words(
      std::string(reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size()));
  std::string act, name, payload;
  words >> act >> name >> payload;
  if (act == "put") return text_of(store.put(name, payload, borrow(message.fds)));
  if (act == "set") return text_of(store.set_payload(name, payload));
  if (act == "drop") return text_of(store.drop(name));
  if (act == "ready") return text_of(store.ready());
  if (act == "load") return list(store);
  if (act == "many") return many(store, std::atoi(name.c_str()));
  if (act == "soon") return soon(store, std::atoi(name.c_str()));
  if (act == "time") return time_of_put(store, std::atoi(name.c_str()), payload == "1" ? 1 : 0);
  if (act == "raw") return raw(keeper, name);
  if (act == "flood") return flood(keeper, std::atoi(name.c_str()));
  if (act == "exit") ::_exit(std::atoi(name.c_str()));
  if (act == "fds") {
    const auto begin = std::filesystem::directory_iterator("/proc/self/fd");
    return std::to_string(std::distance(begin, std::filesystem::directory_iterator()));
  }
  return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string mode = argc > 2 ? argv[2] : "";
  if (mode == "stubborn") {
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) ::signal(signal, SIG_IGN);
  } else {
    ::signal(SIGTERM, [](int) { ::_exit(0); });
    ::signal(SIGUSR1, [](int) { ::_exit(keeper::kReplaceStatus); });
  }
  const int keeper = std::atoi(argv[1]);
  const size_t open_at_start = static_cast<size_t>(std::distance(
      std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
  Store store{Fd(keeper)};
  auto items = store.load();
  if (!items) return 4;
  Fd test;
  for (auto& item : *items) {
    if (item.name == keeper::kListenItem) test = std::move(item.fds.at(0));
  }
  items->clear();
  // Standard ones, the keeper's socket, and the directory.
  say(test.get(), open_at_start == 5 ? fmt::format("hello {}", ::getpid()) : "hello, too many descriptors");
  if (mode == "die") return 3;
  for (;;) {
    auto message = sys::receive_message(test.get());
    if (!message || !*message) return 5;
    const std::string text(reinterpret_cast<const char*>((*message)->bytes.data()), (*message)->bytes.size());
    if (text.starts_with("get ")) {
      auto kept = store.load();
      for (const auto& item : *kept) {
        if (item.name == text.substr(4)) say(test.get(), item.payload, borrow(item.fds));
      }
    } else {
      say(test.get(), perform(store, keeper, **message));
    }
  }
}
