#include "policy/limits.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace loopfs::policy {
namespace {

constexpr sys::NamespaceId kFirst{4, 4026531837};
constexpr sys::NamespaceId kOuter{4, 4026532001};
constexpr sys::NamespaceId kInner{4, 4026532002};

Limits limits_of(uint64_t first_default) {
  return Limits({.what = "loop devices", .first_namespace = kFirst, .first_default = first_default});
}

Chain user(uid_t uid) {
  return {{kFirst, uid}};
}

// alice (1000) owns the outer namespace, whose uid 1 (100001 outside) owns the inner one.
const Chain kNested{{kInner, 165536}, {kOuter, 100001}, {kFirst, 1000}};

TEST(Limits, AChargeCountsOnEveryLevelUntilItEnds) {
  Limits limits = limits_of(255);
  {
    auto charge = limits.charge(kNested);
    ASSERT_TRUE(charge) << charge.error().message();
    for (const Level& level : kNested) EXPECT_EQ(limits.usage(level).used, 1U);
    EXPECT_EQ(limits.usage({kFirst, 1001}).used, 0U);
    EXPECT_EQ(limits.usage({kOuter, 1000}).used, 0U);
  }
  for (const Level& level : kNested) EXPECT_EQ(limits.usage(level).used, 0U);
}

TEST(Limits, TheFirstNamespaceHas255PerUidAndOthersHaveNoLimit) {
  Limits limits({.first_namespace = kFirst});
  std::vector<Charge> held;
  for (int i = 0; i < 255; ++i) held.push_back(limits.charge(kNested).value());
  EXPECT_EQ(limits.charge(kNested).error().code, ENOSPC);
  EXPECT_TRUE(limits.charge(user(1001)));
  EXPECT_EQ(limits.usage({kFirst, 1000}).limit, 255U);
  EXPECT_EQ(limits.usage({kInner, 165536}).limit, kUnlimited);
}

TEST(Limits, AFullLevelIsNamedAndNothingIsCharged) {
  Limits limits = limits_of(1);
  const Charge held = limits.charge(user(1000)).value();
  EXPECT_EQ(limits.charge(kNested).error().what,
            "loop devices: uid 1000 in the first user namespace has reached its limit of 1");
  EXPECT_EQ(limits.usage(kNested[0]).used, 0U);
  EXPECT_EQ(limits.usage(kNested[1]).used, 0U);
  EXPECT_EQ(limits.list().size(), 1U);

  limits.set_limit(kNested[1], 0);
  EXPECT_EQ(limits.charge(kNested).error().what,
            "loop devices: uid 100001 in user namespace 4026532001 has reached its limit of 0");
  EXPECT_EQ(limits.charge({}).error().code, EINVAL);
}

TEST(Limits, ALimitBelowThePresentUseGrantsNothingNew) {
  Limits limits = limits_of(255);
  std::vector<Charge> held;
  for (int i = 0; i < 3; ++i) held.push_back(limits.charge(user(0)).value());
  limits.set_limit({kFirst, 0}, 2);
  EXPECT_EQ(limits.usage({kFirst, 0}).used, 3U);
  EXPECT_FALSE(limits.charge(user(0)));
  held.pop_back();
  EXPECT_FALSE(limits.charge(user(0)));
  held.pop_back();
  EXPECT_TRUE(limits.charge(user(0)));
  limits.clear_limit({kFirst, 0});
  EXPECT_EQ(limits.usage({kFirst, 0}).limit, 255U);
}

TEST(Limits, ALevelsOwnLimitGoesBeforeItsNamespaces) {
  Limits limits = limits_of(255);
  EXPECT_EQ(limits.namespace_limit(kFirst), 255U);
  EXPECT_EQ(limits.namespace_limit(kOuter), kUnlimited);
  limits.set_namespace_limit(kFirst, 1);
  limits.set_namespace_limit(kOuter, 7);
  EXPECT_EQ(limits.namespace_limit(kFirst), 1U);
  EXPECT_EQ(limits.usage({kOuter, 5}).limit, 7U);
  limits.set_limit({kFirst, 1000}, 2);
  const Charge first = limits.charge(user(1000)).value();
  const Charge second = limits.charge(user(1000)).value();
  EXPECT_FALSE(limits.charge(user(1000)));
  EXPECT_TRUE(limits.usage({kFirst, 1000}).own_limit);
  EXPECT_FALSE(limits.usage({kFirst, 1001}).own_limit);
}

TEST(Limits, AnEndedNamespaceLeavesNoLimitToTheNextOfItsNumber) {
  Limits limits = limits_of(255);
  Charge held = limits.charge(kNested).value();
  limits.set_namespace_limit(kInner, 3);
  limits.set_limit(kNested[0], 1);
  limits.set_limit({kInner, 7}, 1);
  limits.forget(kInner);
  EXPECT_EQ(limits.namespace_limit(kInner), kUnlimited);
  EXPECT_EQ(limits.usage(kNested[0]).limit, kUnlimited);
  EXPECT_EQ(limits.usage(kNested[0]).used, 1U);
  EXPECT_EQ(limits.list().size(), 3U);
  held.reset();
  EXPECT_TRUE(limits.list().empty());
}

TEST(Limits, TheListHasLevelsInUseAndThoseWithALimit) {
  Limits limits = limits_of(255);
  limits.set_limit({kOuter, 9}, 4);
  limits.set_limit({kFirst, 33}, 10);
  const Charge held = limits.charge(user(1000)).value();
  { const Charge gone = limits.charge(user(5)).value(); }
  const auto list = limits.list();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].level, (Level{kFirst, 33}));
  EXPECT_EQ(list[0].limit, 10U);
  EXPECT_EQ(list[1].level, (Level{kFirst, 1000}));
  EXPECT_EQ(list[1].used, 1U);
  EXPECT_EQ(list[2].level, (Level{kOuter, 9}));
  EXPECT_TRUE(list[2].own_limit);
}

TEST(Limits, AMovedChargeIsGivenBackOnceAndAnOverwrittenOneAtOnce) {
  Limits limits = limits_of(255);
  Charge a = limits.charge(user(1)).value();
  Charge b = std::move(a);
  EXPECT_FALSE(a.held());  // NOLINT: the state after the move is the point
  EXPECT_TRUE(b.held());
  a.reset();
  EXPECT_EQ(limits.usage({kFirst, 1}).used, 1U);
  b = limits.charge(user(2)).value();
  EXPECT_EQ(limits.usage({kFirst, 1}).used, 0U);
  EXPECT_EQ(limits.usage({kFirst, 2}).used, 1U);
  b = Charge();
  EXPECT_TRUE(limits.list().empty());
}

TEST(Limits, AChargeMayOutliveTheLimits) {
  Charge charge;
  {
    Limits limits = limits_of(255);
    charge = limits.charge(kNested).value();
  }
  charge.reset();
  EXPECT_FALSE(charge.held());
}

TEST(Limits, ThousandInstancesOfTenDevicesLeaveNothing) {
  Limits limits = limits_of(kUnlimited);
  std::vector<Charge> held;
  for (ino_t instance = 0; instance < 1000; ++instance) {
    const Chain chain{{{4, 5000 + instance}, 100000}, {kOuter, 1000}, {kFirst, 1000}};
    for (int device = 0; device < 10; ++device) held.push_back(limits.charge(chain).value());
  }
  EXPECT_EQ(limits.usage({kFirst, 1000}).used, 10000U);
  EXPECT_EQ(limits.list().size(), 1002U);
  held.clear();
  EXPECT_TRUE(limits.list().empty());
}

TEST(Limits, ThreadsNeverExceedALimit) {
  Limits limits = limits_of(3);
  std::atomic<int> held{0};
  std::atomic<int> granted{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        auto charge = limits.charge(kNested);
        if (!charge) continue;
        ++granted;
        if (++held > 3) exceeded = true;
        --held;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_GT(granted, 0);
  EXPECT_TRUE(limits.list().empty());
}

}  // namespace
}  // namespace loopfs::policy
