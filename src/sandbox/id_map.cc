#include "sandbox/id_map.h"

#include <algorithm>
#include <limits>

#include "base/number.h"

namespace loopfs::sandbox {
namespace {

constexpr size_t kMostRanges = 340;  // lines of a map: kernel/user_namespace.c, UID_GID_MAP_MAX_EXTENTS
constexpr uint64_t kIds = std::numeric_limits<uint32_t>::max();  // 2^32-1 is no id

// Takes what is before the separator off the front of `text`; all of it if there is none.
std::string_view take_until(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

std::string_view take_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(" \t"));
  text.remove_prefix(word.size());
  return word;
}

std::vector<IdRange> map_user_and_subordinates(uint32_t id, const std::vector<SubordinateRange>& ranges) {
  std::vector<IdRange> map{{0, id, 1}};
  uint64_t next = 1;
  for (const SubordinateRange& range : ranges) {
    if (map.size() == kMostRanges || next + range.count > kIds) break;
    map.push_back({static_cast<uint32_t>(next), range.first, range.count});
    next += range.count;
  }
  return map;
}

std::vector<IdRange> identity_of(const std::vector<IdRange>& own) {
  std::vector<IdRange> map;
  for (const IdRange& range : own) map.push_back({range.inside, range.inside, range.count});
  return map;
}

bool has_several_ids(const std::vector<IdRange>& map) {
  return map.size() > 1 || (map.size() == 1 && map[0].count > 1);
}

}  // namespace

std::vector<SubordinateRange> parse_subordinate_ids(std::string_view text, std::string_view user, uid_t uid) {
  std::vector<SubordinateRange> ranges;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const std::string_view owner = take_until(line, ':');
    const auto first = base::parse_number<uint32_t>(take_until(line, ':'));
    const auto count = base::parse_number<uint32_t>(line);
    if (owner.empty() || !first || !count || *count == 0) continue;
    if (uint64_t{*first} + *count > kIds) continue;
    if (owner == user || base::parse_number<uint32_t>(owner) == uid) ranges.push_back({*first, *count});
  }
  return ranges;
}

std::optional<std::vector<IdRange>> parse_id_map(std::string_view text) {
  std::vector<IdRange> map;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const auto inside = base::parse_number<uint32_t>(take_word(line));
    const auto outside = base::parse_number<uint32_t>(take_word(line));
    const auto count = base::parse_number<uint32_t>(take_word(line));
    if (!inside || !outside || !count || !take_word(line).empty()) return std::nullopt;
    map.push_back({*inside, *outside, *count});
  }
  return map;
}

std::vector<IdMapPlan> plan_id_maps(const IdFacts& facts) {
  std::vector<IdMapPlan> plans;
  if (facts.uid == 0) {
    if (has_several_ids(facts.user_map) || has_several_ids(facts.group_map)) {
      plans.push_back(
          {IdMapPlan::Method::kDirect, identity_of(facts.user_map), identity_of(facts.group_map)});
    }
  } else if (facts.helpers_work && !facts.subordinate_users.empty() && !facts.subordinate_groups.empty()) {
    plans.push_back({IdMapPlan::Method::kHelpers,
                     map_user_and_subordinates(facts.uid, facts.subordinate_users),
                     map_user_and_subordinates(facts.gid, facts.subordinate_groups)});
  }
  plans.push_back({IdMapPlan::Method::kSingle, {{0, facts.uid, 1}}, {{0, facts.gid, 1}}});
  return plans;
}

}  // namespace loopfs::sandbox
