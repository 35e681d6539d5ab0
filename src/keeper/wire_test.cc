#include "keeper/wire.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace loopfs::keeper {
namespace {

TEST(Wire, CarriesANoteWhole) {
  const auto bytes = encode({Act::kPut, 5, {{"name", std::string_view("a\0b", 3), 2}, {"", "", 0}}});
  const auto note = parse(bytes);
  ASSERT_TRUE(note);
  EXPECT_EQ(note->act, Act::kPut);
  EXPECT_EQ(note->code, 5);
  ASSERT_EQ(note->records.size(), 2u);
  EXPECT_EQ(note->records[0].name, "name");
  EXPECT_EQ(note->records[0].payload, std::string_view("a\0b", 3));
  EXPECT_EQ(note->records[0].fds, 2u);
}

TEST(Wire, RefusesWhatIsCutOffAndWhatIsTooMuch) {
  auto bytes = encode({Act::kPut, 0, {{"name", "payload", 0}}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(parse(std::span(bytes).first(size)).error().code, EPROTO) << size;
  }
  bytes.push_back({});
  EXPECT_EQ(parse(bytes).error().code, EPROTO);
}

TEST(Wire, SurvivesLengthsOutOfThisWorld) {
  auto bytes = encode({Act::kPut, 0, {{"name", "payload", 0}}});
  for (size_t i = 8; i < 24; ++i) {
    auto broken = bytes;
    broken[i] = std::byte{0xff};
    if (i < 20) {
      EXPECT_FALSE(parse(broken)) << i;
    }
  }
}

}  // namespace
}  // namespace loopfs::keeper
