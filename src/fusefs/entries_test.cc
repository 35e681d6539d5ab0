#include "fusefs/entries.h"

#include <gtest/gtest.h>

#include <set>

#include "fusefs/node_table.h"

namespace loopfs::fusefs {
namespace {

Entry directory(const std::string& name, uint64_t parent = kRootInode) {
  return {.parent = parent, .name = name, .mode = S_IFDIR | 0755};
}
Entry file(const std::string& name, uint64_t parent = kRootInode) {
  return {.parent = parent, .name = name, .mode = S_IFREG | 0644};
}

TEST(Entries, WhatIsMadeIsFoundUntilItIsRemoved) {
  Entries entries;
  const auto made = entries.make(file("x"));
  ASSERT_TRUE(made);
  EXPECT_TRUE(Entries::is_entry(made->number));
  EXPECT_FALSE(inode_of_number(made->number));
  EXPECT_EQ(entries.find(kRootInode, "x")->number, made->number);
  EXPECT_EQ(entries.make(file("x")).error().code, EEXIST);
  ASSERT_TRUE(entries.remove(kRootInode, "x", false));
  EXPECT_FALSE(entries.find(kRootInode, "x"));
  EXPECT_FALSE(entries.get(made->number));
  EXPECT_NE(entries.make(file("x"))->number, made->number);  // the kernel may still know the old one
}

TEST(Entries, NoInodeOfANodeIsAnEntry) {
  const auto last = instance::NodeId::of_partition(instance::kMostDevices - 1, instance::kMostPartitions);
  EXPECT_FALSE(Entries::is_entry(kRootInode));
  EXPECT_FALSE(Entries::is_entry(inode_number({last, Flavour::kFile})));
  EXPECT_FALSE(Entries::is_entry(inode_number({last, Flavour::kKernel, UINT32_MAX})));
}

TEST(Entries, RemovesAsUnlinkAndRmdirDo) {
  Entries entries;
  const auto folder = entries.make(directory("d"));
  ASSERT_TRUE(entries.make(file("x", folder->number)));
  ASSERT_TRUE(entries.make(file("y")));
  EXPECT_EQ(entries.remove(kRootInode, "d", true).error().code, ENOTEMPTY);
  EXPECT_EQ(entries.remove(kRootInode, "d", false).error().code, EISDIR);
  EXPECT_EQ(entries.remove(kRootInode, "y", true).error().code, ENOTDIR);
  EXPECT_EQ(entries.remove(kRootInode, "z", false).error().code, ENOENT);
  EXPECT_TRUE(entries.remove(folder->number, "x", false));
  EXPECT_TRUE(entries.remove(kRootInode, "d", true));
}

TEST(Entries, RenamesOverWhatMayBeReplaced) {
  Entries entries;
  const auto folder = entries.make(directory("d"));
  const auto moved = entries.make(file("x"));
  ASSERT_TRUE(entries.make(file("x", folder->number)));
  EXPECT_EQ(entries.rename(kRootInode, "x", folder->number, "x", false).error().code, EEXIST);
  EXPECT_EQ(entries.rename(kRootInode, "x", kRootInode, "d", true).error().code, EISDIR);
  EXPECT_EQ(entries.rename(kRootInode, "d", kRootInode, "x", true).error().code, ENOTDIR);
  EXPECT_EQ(entries.rename(kRootInode, "none", kRootInode, "y", true).error().code, ENOENT);
  ASSERT_TRUE(entries.rename(kRootInode, "x", folder->number, "x", true));
  EXPECT_EQ(entries.find(folder->number, "x")->number, moved->number);
  EXPECT_EQ(entries.list(folder->number).size(), 1u);
  EXPECT_FALSE(entries.find(kRootInode, "x"));
}

TEST(Entries, BoundsWhatATenantCanHave) {
  Entries entries;
  for (size_t i = 0; i < Entries::kMost; ++i) ASSERT_TRUE(entries.make(file(std::to_string(i))));
  EXPECT_EQ(entries.make(file("more")).error().code, ENOSPC);
  EXPECT_EQ(entries.make(file(std::string(256, 'x'))).error().code, ENAMETOOLONG);
  Entry link{.parent = kRootInode, .name = "link", .mode = S_IFLNK | 0777};
  link.target = std::string(Entries::kLongestTarget + 1, 'x');
  EXPECT_EQ(entries.make(link).error().code, ENAMETOOLONG);
  EXPECT_EQ(entries.make({.parent = kRootInode, .name = "sda", .mode = S_IFBLK | 0600}).error().code, EPERM);
  EXPECT_EQ(entries.make(file("x", 99)).error().code, ENOENT);
}

TEST(Entries, AreKeptBeforeTheyAreThere) {
  std::set<uint64_t> kept;
  bool full = false;
  Entries entries({.put = [&](const Entry& entry) -> Result<void> {
                     if (full) return fail(ENOSPC, "full");
                     kept.insert(entry.number);
                     return {};
                   },
                   .drop = [&](uint64_t number) { kept.erase(number); }},
                  4711);
  const auto made = entries.make(file("x"));
  ASSERT_TRUE(made);
  EXPECT_TRUE(kept.contains(made->number));
  full = true;
  EXPECT_EQ(entries.make(file("y")).error().code, ENOSPC);
  EXPECT_FALSE(entries.find(kRootInode, "y"));
  EXPECT_EQ(entries.change(made->number, {.mode = 0600}).error().code, ENOSPC);
  EXPECT_EQ(entries.find(kRootInode, "x")->mode, mode_t{S_IFREG | 0644});
  EXPECT_TRUE(entries.remove(kRootInode, "x", false));
  EXPECT_TRUE(kept.empty());
}

}  // namespace
}  // namespace loopfs::fusefs
