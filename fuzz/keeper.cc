// What the keeper is told: the bytes of a message, or a sequence of acts on its records, beside a model of them.
#include <fcntl.h>

#include <map>
#include <string>
#include <vector>

#include "harness.h"
#include "keeper/records.h"
#include "keeper/wire.h"

namespace loopfs::fuzz {
namespace {

using keeper::Item;
using keeper::Note;
using keeper::Records;

// What is understood comes back the same when it is written again.
void parse_bytes(Input& input) {
  const std::string_view text = input.rest();
  const auto bytes = std::as_bytes(std::span(text));
  const auto note = keeper::parse(bytes);
  if (!note) return FUZZ_CHECK(note.error().code == EPROTO);
  size_t size = 12;
  for (const keeper::Record& record : note->records) size += keeper::encoded_size(record);
  FUZZ_CHECK(size == bytes.size());
  const auto again = keeper::encode(*note);
  FUZZ_CHECK(std::ranges::equal(again, bytes));
}

struct Kept {
  std::string payload;
  size_t fds = 0;
};

class Model {
 public:
  explicit Model(size_t most_fds) : most_fds_(most_fds) {}

  void step(Input& input) {
    switch (input.below(6)) {
      case 0:
      case 1:
        return put(input);
      case 2:
        return set_payload(input);
      case 3:
        return drop(input);
      case 4:
        return message(input);
      default:
        return list();
    }
  }

  void check() const {
    size_t fds = 0;
    for (const auto& [name, kept] : kept_) fds += kept.fds;
    FUZZ_CHECK(records_.size() == kept_.size());
    FUZZ_CHECK(records_.fds() == fds);
  }

  void list() const {
    auto next = kept_.begin();
    for (std::string last;;) {
      const Records::Batch batch = records_.after(last);
      if (batch.records.empty()) break;
      FUZZ_CHECK(batch.fds.size() <= 16);
      FUZZ_CHECK(keeper::encode({keeper::Act::kAnswer, 0, batch.records}).size() <= 65536);
      size_t fds = 0;
      for (const keeper::Record& record : batch.records) {
        FUZZ_CHECK(next != kept_.end() && record.name == next->first);
        FUZZ_CHECK(record.payload == next->second.payload && record.fds == next->second.fds);
        fds += record.fds;
        ++next;
      }
      FUZZ_CHECK(fds == batch.fds.size());
      last = batch.records.back().name;
    }
    FUZZ_CHECK(next == kept_.end());
  }

 private:
  static constexpr size_t kSizes[] = {0, 1, 20, keeper::kLargestPayload, keeper::kLargestPayload + 1};

  // Few names, so that they meet.
  static std::string name_of(Input& input) {
    const uint8_t byte = input.byte();
    if (byte == 255) return std::string(keeper::kLongestName, 'n');
    if (byte == 254) return std::string(keeper::kLongestName + 1, 'n');
    if (byte == 253) return {};
    return fmt::format("{}", byte % 40);
  }
  static std::string payload_of(Input& input) {
    const uint8_t byte = input.byte();
    return std::string(kSizes[byte % std::size(kSizes)], static_cast<char>(byte));
  }

  void put(Input& input) { put(name_of(input), payload_of(input), input.below(keeper::kMostFdsOfItem + 2)); }

  void put(const std::string& name, const std::string& payload, size_t fds) {
    Item item{name, payload, {}};
    for (size_t i = 0; i < fds; ++i) item.fds.emplace_back(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    const auto done = records_.put(item, most_fds_);
    if (!done) {
      FUZZ_CHECK(item.fds.size() == fds && item.payload == payload);
      return;
    }
    FUZZ_CHECK(!name.empty() && name.size() <= keeper::kLongestName);
    FUZZ_CHECK(payload.size() <= keeper::kLargestPayload && fds <= keeper::kMostFdsOfItem);
    const auto before = kept_.find(name);
    FUZZ_CHECK(item.fds.size() == (before == kept_.end() ? 0 : before->second.fds));
    FUZZ_CHECK(records_.fds() <= most_fds_ || item.fds.size() >= fds);
    kept_[name] = {payload, fds};
  }

  void set_payload(Input& input) { set_payload(name_of(input), payload_of(input)); }

  void set_payload(const std::string& name, const std::string& payload) {
    const auto done = records_.set_payload(name, payload);
    const bool good = kept_.contains(name) && payload.size() <= keeper::kLargestPayload;
    FUZZ_CHECK(done.has_value() == good);
    if (good) kept_[name].payload = payload;
  }

  void drop(Input& input) { drop(name_of(input)); }

  void drop(const std::string& name) {
    const auto fds = records_.drop(name);
    const auto before = kept_.find(name);
    FUZZ_CHECK(fds.has_value() == (before != kept_.end()));
    if (!fds) return;
    FUZZ_CHECK(fds->size() == before->second.fds);
    kept_.erase(before);
  }

  // As Keeper::serve_one() has it: only what parses gets as far as the records.
  void message(Input& input) {
    const std::string_view text = input.counted();
    const auto note = keeper::parse(std::as_bytes(std::span(text)));
    if (!note || note->records.size() != 1) return;
    const std::string name(note->records[0].name), payload(note->records[0].payload);
    if (note->act == keeper::Act::kPut && note->records[0].fds <= 16)
      put(name, payload, note->records[0].fds);
    if (note->act == keeper::Act::kSetPayload) set_payload(name, payload);
    if (note->act == keeper::Act::kDrop) drop(name);
    (void)records_.after(name);
  }

  const size_t most_fds_;
  Records records_;
  std::map<std::string, Kept, std::less<>> kept_;
};

void act(Input& input) {
  constexpr int kMostSteps = 200;
  Model model(input.below(64));
  for (int i = 0; i < kMostSteps && !input.empty(); ++i) {
    model.step(input);
    model.check();
  }
  model.list();
}

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  loopfs::fuzz::Input input(data, size);
  if (input.below(4) == 0) {
    loopfs::fuzz::parse_bytes(input);
  } else {
    loopfs::fuzz::act(input);
  }
  return 0;
}
