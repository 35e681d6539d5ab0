#include "instance/device.h"

#include <algorithm>
#include <climits>

namespace loopfs::instance {
namespace {

constexpr uint32_t kPageSize = 4096;

// set_init_blocksize: the largest size up to a page that divides the device's.
uint32_t initial_soft_block_size(uint64_t size, uint32_t block_size) {
  while (block_size < kPageSize && !(size & block_size)) block_size <<= 1;
  return block_size;
}

}  // namespace

uint64_t Device::size(uint32_t partition) const {
  if (partition == 0) return size_;
  const auto found = partitions_.find(partition);
  return found == partitions_.end() ? 0 : found->second.size;
}

uint64_t Device::start(uint32_t partition) const {
  const auto found = partitions_.find(partition);
  return found == partitions_.end() ? 0 : found->second.start;
}

const NodeCallse& Device::node(uint32_t partition) const {
  static const NodeCallse kNone;
  if (partition == 0) return whole_;
  const auto found = partition_nodes_.find(partition);
  return found == partition_nodes_.end() ? kNone : found->second;
}

NodeCallse& Device::node_of(uint32_t partition) {
  return partition == 0 ? whole_ : partition_nodes_[partition];
}

bool Device::read_only(uint32_t partition) const {
  return disk_read_only_ || whole_.read_only || node(partition).read_only;
}

Result<void> Device::open(uint32_t partition, bool exclusive, bool write) {
  if (!has(partition)) return fail(ENXIO, "open loop{}p{}", number_, partition);
  if (exclusive) {
    if (auto may = may_claim(partition); !may) return may;
  }
  if (state_ == State::kRundown) return fail(ENXIO, "open loop{}", number_);
  if (write && node(partition).written) return fail(EBUSY, "loop{}: mounted", number_);
  NodeCallse& node = node_of(partition);
  if (node.openers++ == 0) node.soft_block_size = initial_soft_block_size(size(partition), block_size_);
  if (partition != 0) ++whole_.openers;
  if (exclusive) node.claimed = true;
  return {};
}

bool Device::close(uint32_t partition, bool exclusive) {
  NodeCallse& node = node_of(partition);
  --node.openers;
  if (partition != 0) --whole_.openers;
  if (exclusive) node.claimed = node.written = false;
  return ends_now();
}

bool Device::retire() {
  if (state_ == State::kBound) settings_.flags |= LO_FLAGS_AUTOCLEAR;
  return ends_now();
}

bool Device::ends_now() {
  if (whole_.openers > 0) return false;
  if (state_ == State::kBound && autoclear()) state_ = State::kRundown;
  return state_ == State::kRundown;
}

Result<void> Device::may_claim(uint32_t partition) const {
  bool claimed = node(partition).claimed || whole_.claimed;
  if (partition == 0) {
    claimed =
        claimed || std::ranges::any_of(partition_nodes_, [](const auto& n) { return n.second.claimed; });
  }
  if (claimed) return fail(EBUSY, "loop{}: in use", number_);
  return {};
}

Result<void> Device::may_bind(uint32_t partition, bool handle_exclusive) const {
  if (!handle_exclusive) {
    if (auto may = may_claim(partition); !may) return may;
  }
  if (state_ != State::kFree) return fail(EBUSY, "loop{}: bound", number_);
  return {};
}

void Device::bind(const Settings& settings, uint64_t size, uint32_t block_size, uint64_t sequence) {
  settings_ = settings;
  disk_read_only_ = settings.flags & LO_FLAGS_READ_ONLY;
  size_ = size;
  block_size_ = block_size;
  sequence_ = sequence;
  state_ = State::kBound;
}

Result<void> Device::clear() {
  if (auto bound = require_bound(); !bound) return bound;
  settings_.flags |= LO_FLAGS_AUTOCLEAR;
  if (whole_.openers == 1) state_ = State::kRundown;
  return {};
}

void Device::unbind(uint64_t sequence) {
  settings_ = {};
  size_ = 0;
  block_size_ = kSectorSize;
  sequence_ = sequence;
  partitions_.clear();
  partition_nodes_.clear();
  state_ = State::kFree;
}

Result<void> Device::require_bound() const {
  if (state_ != State::kBound) return fail(ENXIO, "loop{}: not bound", number_);
  return {};
}

Result<void> Device::set_soft_block_size(uint32_t partition, bool handle_exclusive, int64_t size) {
  if (!handle_exclusive && !may_claim(partition)) return fail(EBUSY, "loop{}: in use", number_);
  if (size < 0) return fail(EINVAL, "block size {}", size);
  if (auto valid = check_block_size(static_cast<uint64_t>(size)); !valid) return valid;
  if (size < block_size_) return fail(EINVAL, "block size {}", size);
  node_of(partition).soft_block_size = static_cast<uint32_t>(size);
  return {};
}

bool Device::partition_open() const {
  return std::ranges::any_of(partition_nodes_, [](const auto& n) { return n.second.openers > 0; });
}

Result<void> Device::may_rescan(bool handle_exclusive) const {
  if (!partscan()) return fail(EINVAL, "loop{}: no partscan", number_);
  if (partition_open()) return fail(EBUSY, "loop{}: partition in use", number_);
  if (!handle_exclusive) return may_claim(0);
  return {};
}

bool Device::overlaps(uint64_t start, uint64_t length, uint32_t except) const {
  return std::ranges::any_of(partitions_, [&](const auto& entry) {
    const Partition& other = entry.second;
    return entry.first != except && start < other.start + other.size && other.start < start + length;
  });
}

Result<void> Device::check_range(int64_t number, int64_t start, int64_t length) const {
  const auto invalid = [&] {
    return fail(EINVAL, "loop{}: partition {} at {}, {} bytes", number_, number, start, length);
  };
  if (number <= 0) return invalid();
  if (start < 0 || length <= 0 || LLONG_MAX - length < start) return invalid();
  if ((start | length) & (block_size_ - 1)) return invalid();
  const auto end = static_cast<uint64_t>(start) + static_cast<uint64_t>(length);
  if (static_cast<uint64_t>(start) >= size_ || end > size_) return invalid();
  return {};
}

Result<void> Device::add_partition(int64_t number, int64_t start, int64_t length) {
  if (auto valid = check_range(number, start, length); !valid) return valid;
  const Partition added{.start = static_cast<uint64_t>(start), .size = static_cast<uint64_t>(length)};
  if (overlaps(added.start, added.size, 0))
    return fail(EBUSY, "loop{}: partition {} overlaps", number_, number);
  if (number > kMostPartitions) return fail(EINVAL, "loop{}: partition {}", number_, number);
  if (partitions_.contains(static_cast<uint32_t>(number))) {
    return fail(EBUSY, "loop{}: partition {} exists", number_, number);
  }
  partitions_[static_cast<uint32_t>(number)] = added;
  partition_nodes_[static_cast<uint32_t>(number)] = {};
  return {};
}

Result<void> Device::delete_partition(int64_t number) {
  if (number <= 0) return fail(EINVAL, "loop{}: partition {}", number_, number);
  if (number > kMostPartitions || !partitions_.contains(static_cast<uint32_t>(number))) {
    return fail(ENXIO, "loop{}: no partition {}", number_, number);
  }
  const auto index = static_cast<uint32_t>(number);
  if (node(index).openers > 0) return fail(EBUSY, "loop{}: partition {} in use", number_, number);
  partitions_.erase(index);
  partition_nodes_.erase(index);
  return {};
}

Result<void> Device::resize_partition(int64_t number, int64_t start, int64_t length) {
  if (auto valid = check_range(number, start, length); !valid) return valid;
  const auto found =
      number > kMostPartitions ? partitions_.end() : partitions_.find(static_cast<uint32_t>(number));
  if (found == partitions_.end()) return fail(ENXIO, "loop{}: no partition {}", number_, number);
  if (static_cast<uint64_t>(start) != found->second.start) {
    return fail(EINVAL, "loop{}: partition {} starts elsewhere", number_, number);
  }
  if (overlaps(found->second.start, static_cast<uint64_t>(length), found->first)) {
    return fail(EBUSY, "loop{}: partition {} overlaps", number_, number);
  }
  found->second.size = static_cast<uint64_t>(length);
  return {};
}

void Device::replace_partitions(const std::map<uint32_t, Partition>& scanned) {
  std::map<uint32_t, Partition> next;
  std::map<uint32_t, NodeCallse> nodes;
  for (const auto& [number, partition] : scanned) {
    if (number < 1 || number > kMostPartitions || partition.size == 0 || partition.start >= size_) continue;
    Partition& cut = next[number] = partition;
    cut.size = std::min(cut.size, size_ - cut.start);
    const auto before = partitions_.find(number);
    const bool same =
        before != partitions_.end() && before->second.start == cut.start && before->second.size == cut.size;
    nodes[number] = same ? partition_nodes_[number] : NodeCallse{};
  }
  partitions_ = std::move(next);
  partition_nodes_ = std::move(nodes);
}

}  // namespace loopfs::instance
