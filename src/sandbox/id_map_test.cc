#include "sandbox/id_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loopfs::sandbox {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Method = IdMapPlan::Method;

TEST(SubordinateIds, AreFoundByNameAndByNumber) {
  const char* text =
      "other:100000:65536\n"
      "alice:200000:1000\n"
      "1000:300000:10\n"
      "alice:400000:5";
  EXPECT_THAT(
      parse_subordinate_ids(text, "alice", 1000),
      ElementsAre(SubordinateRange{200000, 1000}, SubordinateRange{300000, 10}, SubordinateRange{400000, 5}));
  EXPECT_THAT(parse_subordinate_ids(text, "bob", 7), IsEmpty());
}

TEST(SubordinateIds, LeavesOutWhatIsNoRange) {
  EXPECT_THAT(parse_subordinate_ids("", "a", 1), IsEmpty());
  EXPECT_THAT(
      parse_subordinate_ids("a\na:\na:1\na:1:\na:x:5\na:1:-5\na:1:5:6\na:1:0\n:1:1\n# a:1:1\n", "a", 1),
      IsEmpty());
  EXPECT_THAT(parse_subordinate_ids("a:4294967290:100\na:99999999999:1\n", "a", 1), IsEmpty());
  // A user without a name has an empty one here: it must not match a line without an owner.
  EXPECT_THAT(parse_subordinate_ids(":5:5\n", "", 1), IsEmpty());
}

TEST(IdMap, ReadsTheKernelsFormat) {
  EXPECT_THAT(*parse_id_map("         0          0 4294967295\n"), ElementsAre(IdRange{0, 0, 4294967295u}));
  EXPECT_THAT(*parse_id_map("0 1000 1\n1 100000 65536\n"),
              ElementsAre(IdRange{0, 1000, 1}, IdRange{1, 100000, 65536}));
  EXPECT_THAT(*parse_id_map(""), IsEmpty());
  EXPECT_FALSE(parse_id_map("0 1000\n"));
  EXPECT_FALSE(parse_id_map("0 1000 1 1\n"));
}

TEST(IdMap, IsWrittenAsItIsRead) {
  const std::vector<IdRange> map{{0, 1000, 1}, {1, 100000, 65536}};
  EXPECT_EQ(*parse_id_map(sys::format_id_map(map)), map);
}

TEST(Plan, RootKeepsEveryIdThatItHas) {
  IdFacts facts;
  facts.user_map = {{0, 1000, 1}, {1, 100000, 65536}};
  facts.group_map = {{0, 100, 1}};
  const auto plans = plan_id_maps(facts);
  ASSERT_THAT(plans, SizeIs(2));
  EXPECT_EQ(plans[0].method, Method::kDirect);
  EXPECT_THAT(plans[0].users, ElementsAre(IdRange{0, 0, 1}, IdRange{1, 1, 65536}));
  EXPECT_THAT(plans[0].groups, ElementsAre(IdRange{0, 0, 1}));
  EXPECT_EQ(plans[1].method, Method::kSingle);
}

TEST(Plan, RootWithOneIdNeedsNoPrivilegeForIt) {
  IdFacts facts;
  facts.user_map = {{0, 1000, 1}};
  facts.group_map = {{0, 1000, 1}};
  const auto plans = plan_id_maps(facts);
  ASSERT_THAT(plans, SizeIs(1));
  EXPECT_EQ(plans[0].method, Method::kSingle);
  EXPECT_THAT(plans[0].users, ElementsAre(IdRange{0, 0, 1}));
}

TEST(Plan, AUserGetsTheSubordinateIdsBehindItsOwn) {
  IdFacts facts;
  facts.uid = 1000;
  facts.gid = 1001;
  facts.helpers_work = true;
  facts.subordinate_users = {{100000, 10}, {500000, 20}};
  facts.subordinate_groups = {{200000, 30}};
  const auto plans = plan_id_maps(facts);
  ASSERT_THAT(plans, SizeIs(2));
  EXPECT_EQ(plans[0].method, Method::kHelpers);
  EXPECT_THAT(plans[0].users,
              ElementsAre(IdRange{0, 1000, 1}, IdRange{1, 100000, 10}, IdRange{11, 500000, 20}));
  EXPECT_THAT(plans[0].groups, ElementsAre(IdRange{0, 1001, 1}, IdRange{1, 200000, 30}));
}

TEST(Plan, AUserWithoutARangeOrAHelperIsAlone) {
  IdFacts facts;
  facts.uid = 1000;
  facts.gid = 1001;
  facts.subordinate_users = {{100000, 10}};
  facts.helpers_work = true;
  EXPECT_THAT(plan_id_maps(facts), SizeIs(1));
  facts.subordinate_groups = {{100000, 10}};
  facts.helpers_work = false;
  const auto plans = plan_id_maps(facts);
  ASSERT_THAT(plans, SizeIs(1));
  EXPECT_THAT(plans[0].users, ElementsAre(IdRange{0, 1000, 1}));
  EXPECT_THAT(plans[0].groups, ElementsAre(IdRange{0, 1001, 1}));
}

TEST(Plan, StopsBeforeTheMapOverflows) {
  IdFacts facts;
  facts.uid = 1000;
  facts.helpers_work = true;
  facts.subordinate_users = {{1, 4000000000u}, {1, 4000000000u}};
  facts.subordinate_groups.assign(1000, {1, 1});
  const auto plans = plan_id_maps(facts);
  EXPECT_THAT(plans[0].users, SizeIs(2));
  EXPECT_THAT(plans[0].groups, SizeIs(340));
}

}  // namespace
}  // namespace loopfs::sandbox
