#include "keeper/records.h"

namespace loopfs::keeper {
namespace {

// What sys::receive_message takes in one message.
constexpr size_t kMessageFds = 16;
constexpr size_t kMessageBytes = 65536 - 64;  // less the header

}  // namespace

Result<void> Records::put(Item& item, size_t most_fds) {
  if (item.name.empty()) return fail(EINVAL, "keep an item without a name");
  if (item.name.size() > kLongestName || item.payload.size() > kLargestPayload) {
    return fail(EMSGSIZE, "keep '{}': {} bytes", item.name, item.payload.size());
  }
  if (item.fds.size() > kMostFdsOfItem)
    return fail(EMSGSIZE, "keep '{}': {} descriptors", item.name, item.fds.size());
  const auto found = items_.find(item.name);
  const bool is_new = found == items_.end();
  const size_t old_bytes = is_new ? 0 : item.name.size() + found->second.payload.size();
  const size_t bytes = bytes_ - old_bytes + item.name.size() + item.payload.size();
  const size_t fds = fds_ - (is_new ? 0 : found->second.fds.size()) + item.fds.size();
  if ((is_new && items_.size() >= kMostItems) || bytes > kMostBytes)
    return fail(ENOSPC, "keep '{}'", item.name);
  // One that frees descriptors is welcome even above the limit.
  if (fds > most_fds && fds > fds_) return fail(EMFILE, "keep '{}'", item.name);
  State& state = is_new ? items_[item.name] : found->second;
  state.payload = std::move(item.payload);
  state.fds.swap(item.fds);
  bytes_ = bytes;
  fds_ = fds;
  return {};
}

Result<void> Records::set_payload(std::string_view name, std::string_view payload) {
  const auto found = items_.find(name);
  if (found == items_.end()) return fail(ENOENT, "keep a new payload of '{}'", name);
  if (payload.size() > kLargestPayload) return fail(EMSGSIZE, "keep '{}': {} bytes", name, payload.size());
  const size_t bytes = bytes_ - found->second.payload.size() + payload.size();
  if (bytes > kMostBytes) return fail(ENOSPC, "keep '{}'", name);
  found->second.payload = payload;
  bytes_ = bytes;
  return {};
}

Result<std::vector<Fd>> Records::drop(std::string_view name) {
  const auto found = items_.find(name);
  if (found == items_.end()) return fail(ENOENT, "drop '{}'", name);
  std::vector<Fd> fds = std::move(found->second.fds);
  fds_ -= fds.size();
  bytes_ -= found->first.size() + found->second.payload.size();
  items_.erase(found);
  return fds;
}

Records::Batch Records::after(std::string_view after) const {
  Batch batch;
  size_t bytes = 0;
  for (auto next = items_.upper_bound(after); next != items_.end(); ++next) {
    const auto& [name, state] = *next;
    const Record record{name, state.payload, static_cast<uint32_t>(state.fds.size())};
    bytes += encoded_size(record);
    if (bytes > kMessageBytes || batch.fds.size() + state.fds.size() > kMessageFds) break;
    batch.records.push_back(record);
    for (const Fd& fd : state.fds) batch.fds.push_back(fd.get());
  }
  return batch;
}

}  // namespace loopfs::keeper
