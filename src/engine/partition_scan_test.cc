#include "engine/partition_scan.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/fd.h"

namespace loopfs::engine {
namespace {

constexpr uint64_t kMiB = 1 << 20;

void entry(unsigned char* sector, size_t index, unsigned char type, uint32_t start, uint32_t sectors) {
  unsigned char* at = sector + 446 + index * 16;
  at[4] = type;
  std::memcpy(at + 8, &start, 4);
  std::memcpy(at + 12, &sectors, 4);
  sector[510] = 0x55;
  sector[511] = 0xaa;
}

Fd image(uint64_t size) {
  Fd fd(::memfd_create("image", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

void put(const Fd& fd, const unsigned char (&sector)[512], uint64_t offset) {
  ASSERT_EQ(::pwrite(fd.get(), sector, 512, static_cast<off_t>(offset)), 512);
}

TEST(PartitionScan, NoTable) {
  const Fd fd = image(kMiB);
  EXPECT_TRUE(scan_partitions(fd.get(), 0, kMiB, 512)->empty());
  EXPECT_TRUE(scan_partitions(fd.get(), 0, 0, 512)->empty());
}

TEST(PartitionScan, MbrWithLogicalPartitionsAtAnOffset) {
  const uint64_t base = 8192;
  const Fd fd = image(4 * kMiB);
  unsigned char mbr[512] = {}, ebr[512] = {}, last[512] = {};
  entry(mbr, 0, 0x83, 64, 64);
  entry(mbr, 1, 0x05, 1024, 2048);  // extended
  put(fd, mbr, base);
  entry(ebr, 0, 0x83, 8, 100);
  entry(ebr, 1, 0x05, 512, 512);
  put(fd, ebr, base + uint64_t{1024} * 512);
  entry(last, 0, 0x82, 8, 200);
  put(fd, last, base + uint64_t{1024 + 512} * 512);
  const auto found = scan_partitions(fd.get(), base, 3 * kMiB, 512);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 4u);
  EXPECT_EQ(found->at(1).start, 64u * 512);
  EXPECT_EQ(found->at(1).size, 64u * 512);
  EXPECT_EQ(found->at(2).size, 1024u);  // room for a boot loader only
  EXPECT_EQ(found->at(5).start, (1024u + 8) * 512);
  EXPECT_EQ(found->at(5).size, 100u * 512);
  EXPECT_EQ(found->at(6).start, (1024u + 512 + 8) * 512);
}

TEST(PartitionScan, HostileTablesAreBounded) {
  const Fd fd = image(kMiB);
  unsigned char mbr[512] = {};
  entry(mbr, 0, 0x83, 0xffffffff, 0xffffffff);
  entry(mbr, 1, 0x05, 1, 0xffffffff);  // its EBR chain leads to itself
  put(fd, mbr, 0);
  unsigned char ebr[512] = {};
  entry(ebr, 0, 0x83, 1, 1);
  entry(ebr, 1, 0x05, 0, 0xffffffff);
  put(fd, ebr, 512);
  const auto found = scan_partitions(fd.get(), 0, kMiB, 512);
  ASSERT_TRUE(found);
  for (const auto& [number, partition] : *found) EXPECT_LE(number, instance::kMostPartitions);
}

}  // namespace
}  // namespace loopfs::engine
