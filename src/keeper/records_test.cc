#include "keeper/records.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace loopfs::keeper {
namespace {

constexpr size_t kManyFds = 1000;

Item item_of(const std::string& name, const std::string& payload, size_t fds = 0) {
  Item item{name, payload, {}};
  for (size_t i = 0; i < fds; ++i) item.fds.emplace_back(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  return item;
}

Result<void> put(Records& records, Item item, size_t most_fds = kManyFds) {
  return records.put(item, most_fds);
}

TEST(Records, ReplaceGivesTheOldDescriptorsBack) {
  Records records;
  ASSERT_TRUE(put(records, item_of("a", "1", 2)));
  Item item = item_of("a", "2", 3);
  ASSERT_TRUE(records.put(item, kManyFds));
  EXPECT_EQ(item.fds.size(), 2u);
  EXPECT_EQ(records.fds(), 3u);
  ASSERT_TRUE(records.set_payload("a", "3"));
  const auto batch = records.after("");
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0].payload, "3");
  EXPECT_EQ(batch.fds.size(), 3u);
  EXPECT_EQ(records.drop("a")->size(), 3u);
  EXPECT_EQ(records.drop("a").error().code, ENOENT);
  EXPECT_EQ(records.set_payload("a", "").error().code, ENOENT);
  EXPECT_EQ(records.fds(), 0u);
}

TEST(Records, WhatDoesNotFitChangesNothing) {
  Records records;
  ASSERT_TRUE(put(records, item_of("a", "1", 2), 2));
  EXPECT_EQ(put(records, item_of("a", "2", 3), 2).error().code, EMFILE);
  EXPECT_EQ(put(records, item_of("b", "2", 1), 2).error().code, EMFILE);
  EXPECT_TRUE(put(records, item_of("a", "1", 2), 1)) << "no more than before";
  EXPECT_EQ(put(records, item_of("", "2")).error().code, EINVAL);
  EXPECT_EQ(put(records, item_of(std::string(kLongestName + 1, 'n'), "2")).error().code, EMSGSIZE);
  EXPECT_EQ(put(records, item_of("a", std::string(kLargestPayload + 1, 'n'))).error().code, EMSGSIZE);
  EXPECT_EQ(put(records, item_of("a", "2", kMostFdsOfItem + 1)).error().code, EMSGSIZE);
  EXPECT_EQ(records.set_payload("a", std::string(kLargestPayload + 1, 'n')).error().code, EMSGSIZE);
  EXPECT_EQ(records.size(), 1u);
  EXPECT_EQ(records.fds(), 2u);
  EXPECT_EQ(records.after("").records[0].payload, "1");
}

TEST(Records, AreLimitedInNumberAndSize) {
  Records records;
  for (size_t i = 0; i < kMostItems; ++i) ASSERT_TRUE(put(records, item_of(fmt::format("{}", i), "")));
  EXPECT_EQ(put(records, item_of("more", "")).error().code, ENOSPC);
  EXPECT_TRUE(put(records, item_of("7", "new")));
  const std::string large(kLargestPayload, 'x');
  size_t filled = 0;
  while (records.set_payload(fmt::format("{}", filled), large)) ++filled;
  EXPECT_LE(filled * kLargestPayload, kMostBytes);
  EXPECT_GT((filled + 32) * kLargestPayload, kMostBytes);
  EXPECT_EQ(put(records, item_of(fmt::format("{}", filled), large)).error().code, ENOSPC);
  ASSERT_TRUE(records.drop("0"));
  EXPECT_TRUE(put(records, item_of(fmt::format("{}", filled), large)));
}

TEST(Records, BatchesFitIntoMessages) {
  Records records;
  for (int i = 0; i < 100; ++i) {
    const size_t size = i % 7 == 0 ? kLargestPayload : 10;
    ASSERT_TRUE(put(records, item_of(fmt::format("{:03}", i), std::string(size, 'x'), i % 5 == 0 ? 8 : 0)));
  }
  std::string last;
  size_t seen = 0;
  for (;;) {
    const auto batch = records.after(last);
    if (batch.records.empty()) break;
    EXPECT_LE(encode({Act::kAnswer, 0, batch.records}).size(), 65536u);
    EXPECT_LE(batch.fds.size(), 16u);
    seen += batch.records.size();
    last = batch.records.back().name;
  }
  EXPECT_EQ(seen, 100u);
}

}  // namespace
}  // namespace loopfs::keeper
