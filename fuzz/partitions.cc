// Partition tables of any bytes: what libblkid makes of an image, by both ways that we have it read; and the text that
// the partition reader of loopfsd answers with. libblkid itself is not seen by libFuzzer: what comes out of it is
// counted instead.
#include <fcntl.h>
#include <linux/blkpg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/fd.h"
#include "engine/partition_scan.h"
#include "harness.h"
#include "kernel/partition_worker.h"

namespace {

bool fstat_is_refused = false;

// Counters besides libFuzzer's own: an input that raises a new one is kept.
__attribute__((section("__libfuzzer_extra_counters"), used)) std::array<uint8_t, 4096> counters;

}  // namespace

// By the linker in place of fstat(2), for partition_scan.cc: as of a FUSE mount of the sandbox's own.
extern "C" int __real_fstat64(int fd, struct stat64* status);
extern "C" int __wrap_fstat64(int fd, struct stat64* status) {
  if (!fstat_is_refused) return __real_fstat64(fd, status);
  errno = EACCES;
  return -1;
}

namespace loopfs::fuzz {
namespace {

using Table = std::map<uint32_t, instance::Partition>;

void count(size_t kind, uint64_t value) {
  // Which power of two: sizes that differ a little are the same.
  size_t bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  counters[(kind * 65 + bits) % counters.size()] = 1;
}

uint32_t crc32(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const unsigned char c : bytes) {
    crc ^= c;
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320U : 0);
  }
  return ~crc;
}

// An image, put together from pieces.
class Image {
 public:
  Image(Input& input, uint32_t block_size)
      : block_size_(block_size), bytes_((input.below(64) + 1) * size_t{4096}, '\0') {
    while (!input.empty()) piece(input);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void put(size_t at, std::string_view text) {
    if (at < bytes_.size())
      bytes_.replace(at, std::min(text.size(), bytes_.size() - at), text.substr(0, bytes_.size() - at));
  }
  template <typename T>
  void put_value(size_t at, T value) {
    put(at, {reinterpret_cast<const char*>(&value), sizeof value});
  }

  void piece(Input& input) {
    const size_t kind = input.below(4);
    const size_t block = input.byte();
    if (kind == 0) put(block * 512 + input.byte(), input.bytes(input.byte()));
    if (kind == 1) boot_record(block, input);
    if (kind == 2) guid_table(input);
    if (kind == 3) entry_of_guid(block, input);
  }

  // An MBR, or the EBR of a logical partition.
  void boot_record(size_t block, Input& input) {
    const size_t at = block * block_size_;
    for (size_t i = 0; i < 4; ++i) {
      const uint8_t type = input.byte();
      if (type == 0) continue;
      const size_t entry = at + 446 + i * 16;
      put(entry + 4, std::string(1, static_cast<char>(type)));
      put_value<uint32_t>(entry + 8, type == 0xff ? input.take<uint32_t>() : input.byte());
      put_value<uint32_t>(entry + 12, type == 0xff ? input.take<uint32_t>() : input.byte());
    }
    put(at + 510, "\x55\xaa");
  }

  void entry_of_guid(size_t index, Input& input) {
    const size_t at = 2 * block_size_ + index * 128;
    put(at, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
    put(at + 16, input.bytes(16));
    put_value<uint64_t>(at + 32, 34 + input.byte());
    put_value<uint64_t>(at + 40, (input.byte() & 128) != 0 ? input.take<uint64_t>() : 34 + input.byte());
    put(at + 56, input.bytes(input.byte() % 73));
  }

  // A GPT's header, with checksums that are right, over the entries that are there by now.
  void guid_table(Input& input) {
    const uint8_t odd = input.byte();
    const uint64_t last = bytes_.size() / block_size_ - 1;
    const uint32_t entries = (odd & 1) != 0 ? input.take<uint32_t>() : 128;
    const uint32_t entry_size = (odd & 2) != 0 ? input.take<uint16_t>() : 128;
    std::string header(92, '\0');
    const auto set = [&header](size_t at, auto value) {
      header.replace(at, sizeof value, std::string(reinterpret_cast<const char*>(&value), sizeof value));
    };
    header.replace(0, 8, "EFI PART");
    set(8, uint32_t{0x10000});
    set(12, (odd & 4) != 0 ? input.take<uint32_t>() : uint32_t{92});
    set(24, uint64_t{1});
    set(32, last);
    set(40, uint64_t{34});
    set(48, (odd & 8) != 0 ? input.take<uint64_t>() : last - 34);
    header.replace(56, 16, std::string(16, 'g'));
    set(72, (odd & 16) != 0 ? input.take<uint64_t>() : uint64_t{2});
    set(80, entries);
    set(84, entry_size);
    const size_t size = std::min<uint64_t>(uint64_t{entries} * entry_size, bytes_.size());
    std::string array = bytes_.substr(std::min<size_t>(2 * block_size_, bytes_.size()), size);
    set(88, crc32(array));
    set(16, crc32(header));
    put(block_size_, header);
    const size_t entry = 446;
    put(entry + 4, "\xee");
    put_value<uint32_t>(entry + 8, 1);
    put_value<uint32_t>(entry + 12, static_cast<uint32_t>(last));
    put(510, "\x55\xaa");
  }

  const uint32_t block_size_;
  std::string bytes_;
};

void check(const Table& table, uint64_t size, uint32_t block_size) {
  count(0, table.size());
  for (const auto& [number, partition] : table) {
    FUZZ_CHECK(number >= 1 && number <= instance::kMostPartitions);
    FUZZ_CHECK(partition.start % 512 == 0 && partition.size % 512 == 0);
    FUZZ_CHECK(partition.start <= uint64_t{1} << 63 && partition.size <= uint64_t{1} << 63);
    count(1, number);
    count(2, partition.start);
    count(3, partition.size);
    count(4, partition.label.size());
    count(5, partition.uuid.size());
  }
  // What becomes nodes of a device.
  instance::Device device(0, 1);
  device.bind({}, size, block_size, 2);
  device.replace_partitions(table);
  for (const auto& [number, partition] : device.partitions()) {
    FUZZ_CHECK(partition.start < size && partition.size <= size - partition.start);
  }
  const auto edits = kernel::parse_partition_lines(kernel::partition_lines(table));
  const bool fits = std::ranges::all_of(table, [](const auto& entry) {
    return entry.second.start <= INT64_MAX && entry.second.size <= INT64_MAX;
  });
  FUZZ_CHECK(!fits || edits.size() == table.size());
}

void scan(Input& input) {
  static constexpr uint32_t kBlockSizes[] = {512, 4096, 1024, 2048};
  const uint32_t block_size = input.one_of(kBlockSizes);
  const uint64_t offset = input.below(3) * uint64_t{512};
  const Image image(input, block_size);
  const uint64_t size = image.bytes().size();
  const Fd file(::memfd_create("image", MFD_CLOEXEC));
  FUZZ_CHECK(::pwrite(file.get(), image.bytes().data(), size, static_cast<off_t>(offset)) ==
             static_cast<ssize_t>(size));
  const auto direct = engine::scan_partitions(file.get(), offset, size, block_size);
  fstat_is_refused = true;
  const auto copied = engine::scan_partitions(file.get(), offset, size, block_size);
  fstat_is_refused = false;
  FUZZ_CHECK(direct.has_value() == copied.has_value());
  if (!direct) return;
  check(*direct, size, block_size);
  FUZZ_CHECK(direct->size() == copied->size());
  for (const auto& [number, partition] : *direct) {
    const auto other = copied->find(number);
    FUZZ_CHECK(other != copied->end() && other->second.start == partition.start &&
               other->second.size == partition.size);
  }
  // Ends behind the file, as that may shrink at any time.
  (void)engine::scan_partitions(file.get(), offset, size * 2, block_size);
}

void answer(Input& input) {
  const auto edits = kernel::parse_partition_lines(std::string(input.rest()));
  FUZZ_CHECK(edits.size() <= instance::kMostPartitions);
  for (const sys::PartitionEdit& edit : edits) {
    FUZZ_CHECK(edit.operation == BLKPG_ADD_PARTITION && edit.number >= 1 && edit.number <= 255);
  }
}

}  // namespace
}  // namespace loopfs::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  loopfs::fuzz::Input input(data, size);
  if (input.below(8) == 0) {
    loopfs::fuzz::answer(input);
  } else {
    loopfs::fuzz::scan(input);
  }
  return 0;
}
