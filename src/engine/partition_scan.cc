#include "engine/partition_scan.h"

#include <blkid/blkid.h>

#include <algorithm>
#include <memory>
#include <string_view>

namespace loopfs::engine {
namespace {

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, FreeProbe>;

std::string text(const char* value) {
  return value ? value : "";
}

// The kernel gives an extended partition only room for a boot loader, so that nobody formats it.
constexpr uint64_t kExtendedSize = 1024;

instance::Partition to_partition(blkid_partition entry, uint32_t block_size) {
  // libblkid counts in 512-byte sectors whatever the block size is.
  const auto start = static_cast<uint64_t>(std::max<blkid_loff_t>(blkid_partition_get_start(entry), 0));
  const auto sectors = static_cast<uint64_t>(std::max<blkid_loff_t>(blkid_partition_get_size(entry), 0));
  constexpr uint64_t kMost = uint64_t{1} << 54;  // sectors: hostile numbers must not wrap
  instance::Partition partition;
  partition.start = std::min(start, kMost) * instance::kSectorSize;
  partition.size = std::min(sectors, kMost) * instance::kSectorSize;
  if (blkid_partition_is_extended(entry)) {
    partition.size = std::min(partition.size, std::max<uint64_t>(kExtendedSize, block_size));
  }
  partition.uuid = text(blkid_partition_get_uuid(entry));
  partition.label = text(blkid_partition_get_name(entry));
  return partition;
}

}  // namespace

Result<std::map<uint32_t, instance::Partition>> scan_partitions(int fd, uint64_t offset, uint64_t size,
                                                                uint32_t block_size) {
  std::map<uint32_t, instance::Partition> found;
  if (size == 0) return found;
  Probe probe(blkid_new_probe());
  if (!probe) return fail(ENOMEM, "blkid_new_probe");
  if (blkid_probe_set_device(probe.get(), fd, static_cast<blkid_loff_t>(offset),
                             static_cast<blkid_loff_t>(size)) != 0 ||
      blkid_probe_set_sectorsize(probe.get(), block_size) != 0) {
    return fail(EIO, "scan for partitions");
  }
  blkid_probe_enable_superblocks(probe.get(), 0);
  blkid_probe_enable_partitions(probe.get(), 1);
  blkid_probe_set_partitions_flags(probe.get(), BLKID_PARTS_ENTRY_DETAILS);
  const blkid_partlist list = blkid_probe_get_partitions(probe.get());
  if (!list) return found;
  const blkid_parttable table = blkid_partlist_get_table(list);
  if (!table) return found;
  const std::string type = text(blkid_parttable_get_type(table));
  if (type != "gpt" && type != "dos") return found;
  for (int i = 0; i < blkid_partlist_numof_partitions(list); ++i) {
    const blkid_partition entry = blkid_partlist_get_partition(list, i);
    if (!entry || blkid_partition_get_table(entry) != table) continue;  // of a table inside a partition
    const int number = blkid_partition_get_partno(entry);
    if (number < 1 || number > static_cast<int>(instance::kMostPartitions)) continue;
    found.emplace(static_cast<uint32_t>(number), to_partition(entry, block_size));
  }
  return found;
}

}  // namespace loopfs::engine
