// Which ids a sandbox gets. Pure: the caller reads the files.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sys/namespace.h"

namespace loopfs::sandbox {

using sys::IdRange;

struct SubordinateRange {
  uint32_t first = 0;
  uint32_t count = 0;
  bool operator==(const SubordinateRange&) const = default;
};

// The ranges that a file in the format of subuid(5) gives to the user, by name or by number, in its order.
// Lines that are malformed, empty ranges and ranges past the last id are left out.
std::vector<SubordinateRange> parse_subordinate_ids(std::string_view text, std::string_view user, uid_t uid);

// The lines of a uid_map or gid_map. None if the text has anything else in it.
std::optional<std::vector<IdRange>> parse_id_map(std::string_view text);

// One way to fill the maps of a new user namespace in which the caller is root.
struct IdMapPlan {
  enum class Method {
    kDirect,   // the caller has the ids: it writes the maps itself
    kHelpers,  // newuidmap and newgidmap
    kSingle,   // one id, which needs setgroups(2) to be denied
  };
  Method method = Method::kSingle;
  std::vector<IdRange> users;
  std::vector<IdRange> groups;
};

struct IdFacts {
  uid_t uid = 0;  // effective
  gid_t gid = 0;
  std::vector<IdRange> user_map;  // /proc/self/uid_map
  std::vector<IdRange> group_map;
  std::vector<SubordinateRange> subordinate_users;
  std::vector<SubordinateRange> subordinate_groups;
  bool helpers_work = false;  // newuidmap and newgidmap are there and have their privilege
};

// The plans to try, best first; the last one is always the single id.
// Root: every id that it has, each as itself. Others: 0 is the user, and 1.. the subordinate ids.
std::vector<IdMapPlan> plan_id_maps(const IdFacts& facts);

}  // namespace loopfs::sandbox
