#include "fusefs/entries.h"

#include <algorithm>
#include <ctime>

#include "fusefs/node_table.h"

namespace loopfs::fusefs {
namespace {

// A bit that no inode of a node has (node_table.cc).
constexpr uint64_t kEntryBit = uint64_t{1} << 61;
constexpr size_t kLongestName = 255;

timespec now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

bool is_possible(mode_t mode) {
  return S_ISDIR(mode) || S_ISLNK(mode) || S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
}

}  // namespace

Entries::Entries(Keeping keeping, uint64_t serials_from)
    : keeping_(std::move(keeping)), next_(kEntryBit | serials_from), root_changed_(now()) {}

bool Entries::is_entry(uint64_t number) {
  return (number & kEntryBit) != 0;
}

Entry* Entries::find_locked(uint64_t parent, std::string_view name) {
  const auto found = std::ranges::find_if(entries_, [&](const auto& entry) {
    return entry.second.parent == parent && entry.second.name == name;
  });
  return found == entries_.end() ? nullptr : &found->second;
}

std::optional<Entry> Entries::find(uint64_t parent, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find_locked(parent, name);
  return entry != nullptr ? std::optional(*entry) : std::nullopt;
}

std::optional<Entry> Entries::get(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(number);
  return found != entries_.end() ? std::optional(found->second) : std::nullopt;
}

std::vector<Entry> Entries::list(uint64_t parent) {
  std::vector<Entry> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [number, entry] : entries_) {
    if (entry.parent == parent) all.push_back(entry);
  }
  return all;
}

std::vector<Entry> Entries::all() {
  std::vector<Entry> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [number, entry] : entries_) all.push_back(entry);
  return all;
}

Result<void> Entries::put(const Entry& entry) const {
  if (!keeping_.put || keeping_.put(entry)) return {};
  return fail(ENOSPC, "keep '{}'", entry.name);
}

void Entries::erase_locked(uint64_t number) {
  if (keeping_.drop) keeping_.drop(number);
  permits_.erase(number);
  entries_.erase(number);
}

void Entries::touch_locked(uint64_t directory) {
  if (directory == kRootInode) {
    root_changed_ = now();
  } else if (const auto found = entries_.find(directory); found != entries_.end()) {
    found->second.modified = found->second.changed = now();
  }
}

Result<Entry> Entries::make(Entry wanted) {
  if (!is_possible(wanted.mode)) return fail(EPERM, "make '{}'", wanted.name);
  if (wanted.name.size() > kLongestName || wanted.target.size() > kLongestTarget)
    return fail(ENAMETOOLONG, "make '{}'", wanted.name);
  const std::lock_guard lock(mutex_);
  if (wanted.parent != kRootInode) {
    const auto parent = entries_.find(wanted.parent);
    if (parent == entries_.end() || !parent->second.is_directory())
      return fail(ENOENT, "make '{}'", wanted.name);
  }
  if (find_locked(wanted.parent, wanted.name) != nullptr) return fail(EEXIST, "make '{}'", wanted.name);
  if (entries_.size() >= kMost) return fail(ENOSPC, "make '{}': {} entries are there", wanted.name, kMost);
  std::shared_ptr<void> permit;
  if (keeping_.permit) {
    auto given = keeping_.permit();
    if (!given) return propagate(given);
    permit = std::move(*given);
  }
  wanted.number = next_;
  wanted.modified = wanted.changed = now();
  if (auto kept = put(wanted); !kept) return propagate(kept);
  ++next_;
  touch_locked(wanted.parent);
  if (permit) permits_[wanted.number] = std::move(permit);
  return entries_[wanted.number] = std::move(wanted);
}

bool Entries::is_empty_locked(uint64_t directory) const {
  return std::ranges::none_of(entries_, [&](const auto& entry) { return entry.second.parent == directory; });
}

Result<void> Entries::remove(uint64_t parent, std::string_view name, bool directory) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find_locked(parent, name);
  if (entry == nullptr) return fail(ENOENT, "remove '{}'", name);
  if (entry->is_directory() != directory) return fail(directory ? ENOTDIR : EISDIR, "remove '{}'", name);
  if (directory && !is_empty_locked(entry->number)) return fail(ENOTEMPTY, "remove '{}'", name);
  erase_locked(entry->number);
  touch_locked(parent);
  return {};
}

Result<void> Entries::check_replaced(const Entry& moved, const Entry& replaced) const {
  if (moved.is_directory() != replaced.is_directory())
    return fail(moved.is_directory() ? ENOTDIR : EISDIR, "replace '{}'", replaced.name);
  if (replaced.is_directory() && !is_empty_locked(replaced.number))
    return fail(ENOTEMPTY, "replace '{}'", replaced.name);
  return {};
}

Result<void> Entries::rename(uint64_t parent, std::string_view name, uint64_t new_parent,
                             std::string_view new_name, bool replace) {
  if (new_name.size() > kLongestName) return fail(ENAMETOOLONG, "rename '{}'", name);
  const std::lock_guard lock(mutex_);
  Entry* entry = find_locked(parent, name);
  if (entry == nullptr) return fail(ENOENT, "rename '{}'", name);
  const Entry* replaced = find_locked(new_parent, new_name);
  if (replaced == entry) return {};
  if (replaced != nullptr) {
    if (!replace) return fail(EEXIST, "rename '{}'", name);
    if (auto checked = check_replaced(*entry, *replaced); !checked) return checked;
  }
  Entry moved = *entry;
  moved.parent = new_parent;
  moved.name = new_name;
  moved.changed = now();
  if (auto kept = put(moved); !kept) return kept;
  if (replaced != nullptr) erase_locked(replaced->number);
  *entry = std::move(moved);
  touch_locked(parent);
  touch_locked(new_parent);
  return {};
}

Result<Entry> Entries::change(uint64_t number, const Change& change) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(number);
  if (found == entries_.end()) return fail(ESTALE, "inode {}", number);
  Entry changed = found->second;
  if (change.mode) changed.mode = (changed.mode & S_IFMT) | (*change.mode & 07777);
  if (change.uid) changed.uid = *change.uid;
  if (change.gid) changed.gid = *change.gid;
  if (change.modified) changed.modified = *change.modified;
  changed.changed = now();
  if (auto kept = put(changed); !kept) return propagate(kept);
  return found->second = std::move(changed);
}

void Entries::adopt(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (keeping_.permit) permits_[entry.number] = keeping_.permit().value_or(nullptr);
  entries_[entry.number] = std::move(entry);
}

timespec Entries::root_changed() {
  const std::lock_guard lock(mutex_);
  return root_changed_;
}

}  // namespace loopfs::fusefs
