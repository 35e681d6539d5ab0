// The messages between the server and its keeper. Both run on one machine, but not always from the same
// binary: what is here must not change between versions that replace each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loopfs::keeper {

enum class Act : uint32_t {
  kLoad = 1,        // record: the name after which to go on; empty: from the start
  kPut = 2,         // record: the item; its fds come with the message
  kSetPayload = 3,  // record: name and payload
  kDrop = 4,        // record: name
  kReady = 5,       // record: empty
  kDropNow = 7,     // record: name; the answer comes when its fds are closed
  kAnswer = 6,      // code 0 or an errno; the records are those that kLoad asked for, none after the last
};

struct Record {
  std::string_view name;
  std::string_view payload;
  uint32_t fds = 0;  // how many of the message's fds, in order, are its own
};

struct Note {
  Act act = Act::kAnswer;
  int32_t code = 0;  // errno
  std::vector<Record> records;
};

// Bytes that the record takes in a message.
size_t encoded_size(const Record& record);

std::vector<std::byte> encode(const Note& note);

// The note's records point into `bytes`. Errors: EPROTO.
Result<Note> parse(std::span<const std::byte> bytes);

}  // namespace loopfs::keeper
