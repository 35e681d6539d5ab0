// The items in the keeper's hands.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "keeper/item.h"
#include "keeper/wire.h"

namespace loopfs::keeper {

// Owns the items and sees to the limits of item.h. Whatever fails changes nothing. Descriptors that are no
// longer kept are given back and not closed: close(2) may block. Single-threaded.
class Records {
 public:
  // A new item, or a new state of the one of that name. Takes payload and fds out of `item` if it succeeds;
  // then `item.fds` are those of the old state. All items may have `most_fds` in all. Errors: EINVAL,
  // EMSGSIZE, ENOSPC, EMFILE.
  Result<void> put(Item& item, size_t most_fds);

  // Errors: ENOENT, EMSGSIZE, ENOSPC.
  Result<void> set_payload(std::string_view name, std::string_view payload);

  // The fds it had. Errors: ENOENT.
  Result<std::vector<Fd>> drop(std::string_view name);

  struct Batch {
    std::vector<Record> records;  // they point into the items
    std::vector<int> fds;         // borrowed
  };
  // The items whose names come after `after`, as many as one message can have. None: that was all.
  Batch after(std::string_view after) const;

  size_t size() const { return items_.size(); }
  size_t fds() const { return fds_; }

 private:
  struct State {
    std::string payload;
    std::vector<Fd> fds;
  };
  std::map<std::string, State, std::less<>> items_;
  size_t fds_ = 0;    // of all items
  size_t bytes_ = 0;  // of all names and payloads
};

}  // namespace loopfs::keeper
