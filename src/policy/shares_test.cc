#include "policy/shares.h"

#include <gtest/gtest.h>

#include <vector>

namespace loopfs::policy {
namespace {

constexpr Owner kRoot{};
constexpr Owner kAnn{Owner::Kind::kUser, 1000}, kBob{Owner::Kind::kUser, 1001};

Shares ten() {
  return Shares({.what = "things", .most = 10, .of_owner = 6, .for_root = 2, .for_others = 2, .small = 1});
}

std::vector<Share> take_all(Shares& shares, const Owner& owner) {
  std::vector<Share> taken;
  for (auto share = shares.take(owner); share; share = shares.take(owner)) taken.push_back(std::move(*share));
  return taken;
}

TEST(Shares, OneOwnerHasNoMoreThanOneMay) {
  Shares shares = ten();
  const auto taken = take_all(shares, kAnn);
  EXPECT_EQ(taken.size(), 6U);
  EXPECT_EQ(shares.take(kAnn).error().code, EDQUOT);
  EXPECT_EQ(shares.take(kAnn).error().what, "user 1000 has 6 things, the most that one may have");
}

TEST(Shares, SomethingIsLeftForWhoHasNothing) {
  Shares shares({.what = "things", .most = 10, .of_owner = 10, .for_root = 2, .for_others = 2, .small = 1});
  const auto taken = take_all(shares, kAnn);
  EXPECT_EQ(taken.size(), 6U);
  EXPECT_EQ(shares.take(kAnn).error().code, EAGAIN);
  const auto first = shares.take(kBob);
  EXPECT_TRUE(first);
  EXPECT_EQ(shares.take(kBob).error().code, EAGAIN);  // a second is not his first
}

TEST(Shares, RootHasWhatIsLeftAndNoBoundOfItsOwn) {
  Shares shares = ten();
  const auto anns = take_all(shares, kAnn);
  const auto roots = take_all(shares, kRoot);
  EXPECT_EQ(roots.size(), 4U);
  EXPECT_EQ(shares.take(kBob).error().code, EAGAIN);
}

TEST(Shares, TheEndOfAShareGivesItBackAlsoAfterItsShares) {
  auto shares = std::make_unique<Shares>(ten());
  auto taken = take_all(*shares, kAnn);
  taken.pop_back();
  EXPECT_EQ(shares->used(kAnn), 5U);
  EXPECT_EQ(shares->used(), 5U);
  shares.reset();
  taken.clear();
}

TEST(Shares, ContainersOfRootAreApart) {
  Shares shares = ten();
  const auto one = take_all(shares, {Owner::Kind::kContainer, 4026532000});
  EXPECT_TRUE(shares.take({Owner::Kind::kContainer, 4026532001}));
  EXPECT_TRUE(shares.take({Owner::Kind::kPlainContainer, 4026532000}));
}

}  // namespace
}  // namespace loopfs::policy
