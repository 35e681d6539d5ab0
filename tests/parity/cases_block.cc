// Cases of single properties and of the ioctls that every block device has.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fixture.h"

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

namespace parity {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const auto kBadAddress = reinterpret_cast<void*>(8);

// Every ioctl that reads a number; the width is what the kernel writes.
void get_all(Fixture& f, int fd, const std::string& when) {
  struct {
    const char* name;
    unsigned long command;
    bool value;  // printed
  } const numbers[] = {
      {"BLKGETSIZE", BLKGETSIZE, true},
      {"BLKGETSIZE64", BLKGETSIZE64, true},
      {"BLKSSZGET", BLKSSZGET, true},
      {"BLKPBSZGET", BLKPBSZGET, true},
      {"BLKIOMIN", BLKIOMIN, true},
      {"BLKIOOPT", BLKIOOPT, true},
      {"BLKALIGNOFF", BLKALIGNOFF, true},
      {"BLKBSZGET", BLKBSZGET, true},
      {"BLKROGET", BLKROGET, true},
      {"BLKRAGET", BLKRAGET, true},
      {"BLKFRAGET", BLKFRAGET, true},
      {"BLKSECTGET", BLKSECTGET, true},
      {"BLKROTATIONAL", BLKROTATIONAL, true},
      {"BLKDISCARDZEROES", BLKDISCARDZEROES, true},
      {"BLKGETDISKSEQ", BLKGETDISKSEQ, false},
      {"BLKGETZONESZ", BLKGETZONESZ, true},
      {"BLKGETNRZONES", BLKGETNRZONES, true},
  };
  for (const auto& number : numbers) {
    uint64_t value = 0xaaaaaaaaaaaaaaaa;
    const long result = f.ioctl_at(fd, number.command, &value);
    f.print(fmt::format("{} {}", number.name, when), result, number.value ? fmt::format("{:#x}", value) : "");
  }
}

void unknown_ioctls(Fixture& f, int fd, const std::string& when) {
  struct {
    const char* name;
    unsigned long command;
  } const commands[] = {
      {"0x4c7f", 0x4C7F},
      {"LOOP_CTL_ADD", LOOP_CTL_ADD},
      {"0x12ff", 0x12FF},
      {"BLKSECDISCARD, null", BLKSECDISCARD},
      {"CDROM_GET_CAPABILITY", 0x5331},
      {"CDROM_DRIVE_STATUS", 0x5326},
      {"FDGETFDCSTAT", _IOR(2, 0x15, char[40])},
      {"SG_IO", 0x2285},
      {"BLKTRACESTOP", BLKTRACESTOP},
      {"TCGETS", 0x5401},
      {"HDIO_GET_IDENTITY", HDIO_GET_IDENTITY},
      {"_IOR unknown", _IOR(0x4c, 0x70, uint64_t)},
      {"_IOW unknown", _IOW(0x4c, 0x71, uint64_t)},
      {"BLKREPORTZONE", _IOWR(0x12, 130, char[16])},
  };
  char buffer[256] = {};
  for (const auto& command : commands) {
    const bool null = std::string(command.name).ends_with("null");
    f.print(fmt::format("{} {}", command.name, when),
            f.ioctl(fd, command.command, null ? 0 : reinterpret_cast<unsigned long>(buffer)));
  }
}

}  // namespace

void property_cases(Fixture& f) {
  const int a = f.open("a", O_RDWR);
  f.print("SET_CAPACITY unbound", f.ioctl(a, LOOP_SET_CAPACITY));
  f.print("SET_DIRECT_IO unbound", f.ioctl(a, LOOP_SET_DIRECT_IO, 1));
  f.print("SET_BLOCK_SIZE unbound", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 512));
  f.print("SET_BLOCK_SIZE 1000 unbound", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 1000));
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  for (const unsigned long size : {0ul, 1ul, 256ul, 1000ul, 3072ul, 1024ul, 4096ul, 4096ul, 65536ul, 131072ul,
                                   512ul, (1ul << 32) + 512, ~0ul}) {
    int reported = 0;
    const long result = f.ioctl(a, LOOP_SET_BLOCK_SIZE, size);
    f.ioctl_at(a, BLKSSZGET, &reported);
    f.print(fmt::format("SET_BLOCK_SIZE {:#x}", size), result,
            fmt::format("{} size={}", reported, f.size(a)));
  }
  f.print("block size back", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 512));
  (void)!::ftruncate(file, 2 * kMiB + 700);
  f.print("grown file, before SET_CAPACITY", 0, fmt::format("{}", f.size(a)));
  f.print("SET_CAPACITY", f.ioctl(a, LOOP_SET_CAPACITY), [&] { return fmt::format("{}", f.size(a)); });
  (void)!::ftruncate(file, 4096);
  f.print("SET_CAPACITY, shrunk file", f.ioctl(a, LOOP_SET_CAPACITY, 77),
          [&] { return fmt::format("{}", f.size(a)); });
  (void)!::ftruncate(file, 0);
  f.print("SET_CAPACITY, empty file", f.ioctl(a, LOOP_SET_CAPACITY),
          [&] { return fmt::format("{}", f.size(a)); });
  (void)!::ftruncate(file, static_cast<off_t>(kMiB));
  f.print("SET_CAPACITY, whole again", f.ioctl(a, LOOP_SET_CAPACITY),
          [&] { return fmt::format("{}", f.size(a)); });
  const int reader = f.open("a", O_RDONLY);
  f.print("SET_CAPACITY through a read-only descriptor", f.ioctl(reader, LOOP_SET_CAPACITY));
  f.print("SET_BLOCK_SIZE through a read-only descriptor", f.ioctl(reader, LOOP_SET_BLOCK_SIZE, 512));
  f.print("SET_DIRECT_IO through a read-only descriptor", f.ioctl(reader, LOOP_SET_DIRECT_IO, 0));
  f.close(reader);
}

void block_cases(Fixture& f) {
  int a = f.open("a", O_RDWR);
  get_all(f, a, "unbound");
  unknown_ioctls(f, a, "unbound");
  hd_geometry geometry{};
  f.print("HDIO_GETGEO unbound", f.ioctl_at(a, HDIO_GETGEO, &geometry));
  f.print("BLKRRPART unbound", f.ioctl(a, BLKRRPART));
  f.print("BLKFLSBUF unbound", f.ioctl(a, BLKFLSBUF));
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  get_all(f, a, "bound while open");
  f.close(a);
  a = f.open("a", O_RDWR);
  get_all(f, a, "bound");
  unknown_ioctls(f, a, "bound");
  f.print("HDIO_GETGEO", f.ioctl_at(a, HDIO_GETGEO, &geometry));
  f.print("HDIO_GETGEO null", f.ioctl(a, HDIO_GETGEO));
  f.print("BLKRRPART without partscan", f.ioctl(a, BLKRRPART));
  f.print("BLKFLSBUF", f.ioctl(a, BLKFLSBUF));

  for (const unsigned long command :
       {BLKGETSIZE, BLKSSZGET, BLKPBSZGET, BLKROGET, BLKRAGET, BLKROTATIONAL, BLKIOMIN, BLKROSET}) {
    f.print(fmt::format("{:#x} null", command), f.ioctl(a, command));
    f.print(fmt::format("{:#x} bad address", command), f.ioctl_at(a, command, kBadAddress));
  }
  f.print("BLKGETSIZE64 null", f.ioctl(a, BLKGETSIZE64));
  f.print("BLKGETSIZE64 bad address", f.ioctl_at(a, BLKGETSIZE64, kBadAddress));
  f.print("BLKBSZGET null", f.ioctl(a, BLKBSZGET));
  f.print("BLKBSZSET null", f.ioctl(a, BLKBSZSET));
  f.print("BLKGETDISKSEQ null", f.ioctl(a, BLKGETDISKSEQ));
  for (const long size : {0l, 256l, 512l, 1000l, 1024l, 4096l, 65536l, 131072l, -512l}) {
    long value = size;
    unsigned long reported = 0;
    const long result = f.ioctl_at(a, BLKBSZSET, &value);
    f.ioctl_at(a, BLKBSZGET, &reported);
    f.print(fmt::format("BLKBSZSET {}", size), result, fmt::format("{}", reported));
  }
  f.print("BLKRASET 1000", f.ioctl(a, BLKRASET, 1000));
  unsigned long ahead = 0;
  f.print("BLKRAGET after it", f.ioctl_at(a, BLKRAGET, &ahead), [&] { return fmt::format("{}", ahead); });
  f.print("BLKRASET 0", f.ioctl(a, BLKRASET, 0));
  f.print("BLKRAGET after that", f.ioctl_at(a, BLKRAGET, &ahead), [&] { return fmt::format("{}", ahead); });
  f.print("BLKRASET 256", f.ioctl(a, BLKRASET, 256));

  int flag = 1;
  char bytes[512] = {};
  f.print("BLKROSET 1", f.ioctl_at(a, BLKROSET, &flag));
  flag = 7;
  f.print("BLKROGET after it", f.ioctl_at(a, BLKROGET, &flag), [&] { return fmt::format("{}", flag); });
  f.print("write then", f.port.write(a, bytes, 512, 0));
  f.print("status then", 0, f.status(a, file));
  const int writer = f.open("a", O_RDWR);
  f.print("open for writing then", writer >= 0 ? 0 : writer);
  flag = 0;
  f.print("BLKROSET 0", f.ioctl_at(a, BLKROSET, &flag));
  f.print("write again", f.port.write(a, bytes, 512, 0));

  f.close(writer);
  f.print("SET_BLOCK_SIZE 4096", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 4096));
  get_all(f, a, "with 4096");
  long value = 1024;
  f.print("BLKBSZSET 1024 with 4096", f.ioctl_at(a, BLKBSZSET, &value));
  f.end();

  f.begin("block");
  a = f.open("a", O_RDWR);
  f.print("bind read-only", f.configure(a, f.open_file("x", kMiB + 1024, O_RDONLY)));
  f.close(a);
  a = f.open("a", O_RDWR);
  get_all(f, a, "read-only");
  flag = 0;
  f.print("BLKROSET 0 on read-only", f.ioctl_at(a, BLKROSET, &flag));
  flag = 7;
  f.print("BLKROGET still", f.ioctl_at(a, BLKROGET, &flag), [&] { return fmt::format("{}", flag); });
  f.print("write read-only", f.port.write(a, bytes, 512, 0));
  f.print("write nothing read-only", f.port.write(a, bytes, 0, 0));
  f.print("CLR_FD", f.ioctl(a, LOOP_CLR_FD));
  f.close(a);
  a = f.open("a", O_RDWR);
  get_all(f, a, "cleared");
  const int exclusive = f.open("a", O_RDWR | O_EXCL);
  value = 512;
  f.print("BLKBSZSET beside O_EXCL", f.ioctl_at(a, BLKBSZSET, &value));
  f.print("BLKBSZSET by O_EXCL", f.ioctl_at(exclusive, BLKBSZSET, &value));
}

void discard_cases(Fixture& f) {
  int a = f.open("a", O_RDWR);
  const auto range = [&](int fd, unsigned long command, uint64_t start, uint64_t length) {
    uint64_t pair[2] = {start, length};
    return f.ioctl_at(fd, command, &pair);
  };
  struct {
    const char* name;
    unsigned long command;
  } const commands[] = {
      {"BLKDISCARD", BLKDISCARD}, {"BLKZEROOUT", BLKZEROOUT}, {"BLKSECDISCARD", BLKSECDISCARD}};
  struct {
    uint64_t start, length;
  } const ranges[] = {{0, 512},     {0, 0},         {512, 0},        {4096, 8192},      {100, 512},
                      {0, 100},     {0, kMiB},      {0, kMiB + 512}, {kMiB, 512},       {kMiB - 512, 512},
                      {~0ULL, 512}, {~511ULL, 512}, {512, ~511ULL},  {1ULL << 63, 512}, {4096, 1ULL << 63}};
  for (const auto& c : commands) f.print(fmt::format("{} unbound", c.name), range(a, c.command, 0, 512));
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  const auto holes = [&] {
    struct stat status {};
    ::fsync(file);
    ::fstat(file, &status);
    char byte = 0;
    (void)!::pread(file, &byte, 1, 4096);
    return fmt::format("size={} byte={}", status.st_size, int{byte});
  };
  for (const auto& c : commands) {
    f.print(fmt::format("{} null", c.name), f.ioctl(a, c.command));
    f.print(fmt::format("{} bad address", c.name), f.ioctl_at(a, c.command, kBadAddress));
    for (const auto& r : ranges) {
      f.print(fmt::format("{} {:#x}+{:#x}", c.name, r.start, r.length),
              range(a, c.command, r.start, r.length));
    }
    f.print(fmt::format("{} on a reader", c.name), range(f.open("a", O_RDONLY), c.command, 0, 512));
    f.print(fmt::format("file after {}", c.name), 0, holes());
    f.file("x", kMiB);
  }
  struct {
    const char* name;
    int mode;
  } const modes[] = {{"0", 0},
                     {"KEEP_SIZE", FALLOC_FL_KEEP_SIZE},
                     {"PUNCH|KEEP", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
                     {"PUNCH", FALLOC_FL_PUNCH_HOLE},
                     {"ZERO", FALLOC_FL_ZERO_RANGE},
                     {"ZERO|KEEP", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE},
                     {"COLLAPSE", FALLOC_FL_COLLAPSE_RANGE},
                     {"INSERT", FALLOC_FL_INSERT_RANGE},
                     {"UNSHARE", FALLOC_FL_UNSHARE_RANGE},
                     {"0x1000", 0x1000}};
  for (const auto& m : modes) {
    f.file("x", kMiB);
    f.print(fmt::format("fallocate {}", m.name), f.port.allocate(a, m.mode, 4096, 4096));
    f.print(fmt::format("fallocate {} unaligned", m.name), f.port.allocate(a, m.mode, 100, 512));
    f.print(fmt::format("fallocate {} across the end", m.name), f.port.allocate(a, m.mode, kMiB - 512, 4096));
    f.print(fmt::format("fallocate {} at the end", m.name), f.port.allocate(a, m.mode, kMiB, 4096));
    f.print(fmt::format("fallocate {} of nothing", m.name), f.port.allocate(a, m.mode, 0, 0));
    f.print(fmt::format("fallocate {} negative", m.name), f.port.allocate(a, m.mode, -512, 512));
    f.print(fmt::format("fallocate {} on a reader", m.name),
            f.port.allocate(f.open("a", O_RDONLY), m.mode, 0, 512));
    f.print(fmt::format("file after {}", m.name), 0, holes());
  }
  f.print("SET_BLOCK_SIZE", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 4096));
  for (const auto& c : commands) {
    f.print(fmt::format("{} 512 of 4096", c.name), range(a, c.command, 512, 512));
    f.print(fmt::format("{} 4096 of 4096", c.name), range(a, c.command, 4096, 4096));
  }
  f.print("fallocate 512 of 4096", f.port.allocate(a, FALLOC_FL_ZERO_RANGE, 512, 512));
  f.end();

  f.begin("discard");
  a = f.open("a", O_RDWR);
  f.print("bind read-only", f.configure(a, f.open_file("x", kMiB, O_RDONLY)));
  for (const auto& c : commands) {
    f.print(fmt::format("{} read-only", c.name), range(a, c.command, 0, 512));
    f.print(fmt::format("{} read-only, unaligned", c.name), range(a, c.command, 1, 512));
    f.print(fmt::format("{} read-only, null", c.name), f.ioctl(a, c.command));
  }
  f.print("fallocate read-only", f.port.allocate(a, FALLOC_FL_ZERO_RANGE, 0, 512));
  f.ioctl(a, LOOP_CLR_FD);
  f.close(a);
  a = f.open("a", O_RDWR);
  for (const auto& c : commands) f.print(fmt::format("{} cleared", c.name), range(a, c.command, 0, 512));
  f.print("fallocate cleared", f.port.allocate(a, FALLOC_FL_ZERO_RANGE, 0, 512));
}

}  // namespace parity
