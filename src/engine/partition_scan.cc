#include "engine/partition_scan.h"

#include <blkid/blkid.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "base/fd.h"

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

bool copy_range(int from, uint64_t offset, int to, uint64_t at, size_t size) {
  std::vector<std::byte> bytes(size);
  const ssize_t got = ::pread(from, bytes.data(), size, static_cast<off_t>(offset + at));
  return got >= 0 && ::pwrite(to, bytes.data(), static_cast<size_t>(got), static_cast<off_t>(at)) == got;
}

// The boot records of logical partitions, which are chained through the device.
void copy_logical_records(int from, uint64_t offset, int to, uint64_t size, uint32_t block_size) {
  constexpr size_t kEntries = 446, kEntrySize = 16;
  uint64_t first = 0, record = 0;  // blocks
  for (uint32_t i = 0; i <= instance::kMostPartitions; ++i) {
    if (record >= size / block_size) return;
    std::array<unsigned char, instance::kSectorSize> sector{};
    if (!copy_range(from, offset, to, record * block_size, block_size)) return;
    if (::pread(to, sector.data(), sector.size(), static_cast<off_t>(record * block_size)) < 512) return;
    uint64_t next = 0;
    for (size_t entry = 0; entry < 4 && next == 0; ++entry) {
      const unsigned char* at = sector.data() + kEntries + entry * kEntrySize;
      if (at[4] != 0x05 && at[4] != 0x0f && at[4] != 0x85) continue;
      next = at[8] | at[9] << 8 | at[10] << 16 | static_cast<uint64_t>(at[11]) << 24;
    }
    if (next == 0) return;
    record = first + next;
    if (first == 0) first = next;
  }
}

// What libblkid has to see of a file that it cannot fstat(2): the tables at both ends, as a sparse file.
Result<Fd> copy_tables(int from, uint64_t offset, uint64_t size, uint32_t block_size) {
  constexpr size_t kEnd = 1 << 20;
  Fd copy(::memfd_create("loopfs-partitions", MFD_CLOEXEC));
  if (!copy.valid()) return errno_fail("memfd_create");
  if (::ftruncate(copy.get(), static_cast<off_t>(size)) != 0) return errno_fail("ftruncate");
  const size_t head = static_cast<size_t>(std::min<uint64_t>(size, kEnd));
  if (!copy_range(from, offset, copy.get(), 0, head) ||
      !copy_range(from, offset, copy.get(), size - head, head)) {
    return fail(EIO, "scan for partitions");
  }
  copy_logical_records(from, offset, copy.get(), size, block_size);
  return copy;
}

}  // namespace

Result<std::map<uint32_t, instance::Partition>> scan_partitions(int fd, uint64_t offset, uint64_t size,
                                                                uint32_t block_size) {
  std::map<uint32_t, instance::Partition> found;
  if (size == 0) return found;
  Probe probe(blkid_new_probe());
  if (!probe) return fail(ENOMEM, "blkid_new_probe");
  Fd copy;
  struct stat status;
  if (::fstat(fd, &status) != 0 && errno == EACCES) {
    auto tables = copy_tables(fd, offset, size, block_size);
    if (!tables) return propagate(tables);
    copy = std::move(*tables);
    fd = copy.get();
    offset = 0;
  }
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
