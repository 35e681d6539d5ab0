// Cases of reading, writing, direct I/O, files that change their size, and partitions.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "fixture.h"

namespace parity {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const auto kBadAddress = reinterpret_cast<void*>(8);

// Memory that suits direct I/O.
char* buffer() {
  static char* memory = static_cast<char*>(std::aligned_alloc(4096, 2 * kMiB));
  return memory;
}

std::string letter(char c) {
  return c == 0 ? "zero" : std::string(1, c);
}

long blkpg(Fixture& f, int fd, int operation, int number, long long start, long long length) {
  blkpg_partition partition{};
  partition.start = start;
  partition.length = length;
  partition.pno = number;
  blkpg_ioctl_arg argument{.op = operation, .flags = 0, .datalen = sizeof partition, .data = &partition};
  return f.ioctl_at(fd, BLKPG, &argument);
}

// An MBR with two primary partitions, at 64 and 128 KiB, 64 KiB each.
void write_mbr(const std::string& path) {
  unsigned char mbr[512] = {};
  const auto entry = [&](int index, uint32_t start, uint32_t sectors) {
    unsigned char* at = mbr + 446 + index * 16;
    at[4] = 0x83;
    std::memcpy(at + 8, &start, 4);
    std::memcpy(at + 12, &sectors, 4);
  };
  entry(0, 128, 128);
  entry(1, 256, 128);
  mbr[510] = 0x55;
  mbr[511] = 0xaa;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  (void)!::pwrite(fd, mbr, sizeof mbr, 0);
  ::close(fd);
}

void io_at(Fixture& f, int fd, const std::string& when, uint64_t size) {
  struct {
    const char* name;
    off_t offset;
    size_t length;
  } const spans[] = {{"start", 0, 512},
                     {"nothing", 0, 0},
                     {"odd", 3, 77},
                     {"last sector", static_cast<off_t>(size) - 512, 512},
                     {"across the end", static_cast<off_t>(size) - 512, 4096},
                     {"at the end", static_cast<off_t>(size), 512},
                     {"nothing at the end", static_cast<off_t>(size), 0},
                     {"past the end", static_cast<off_t>(size) + 4096, 512},
                     {"far past the end", off_t{1} << 50, 512},
                     {"negative", -1, 512}};
  for (const auto& span : spans) {
    f.print(fmt::format("read {} {}", span.name, when), f.port.read(fd, buffer(), span.length, span.offset));
    std::memset(buffer(), 'w', 4096);
    f.print(fmt::format("write {} {}", span.name, when),
            f.port.write(fd, buffer(), span.length, span.offset));
  }
  f.print(fmt::format("fsync {}", when), f.port.sync(fd));
}

void changed_files(Fixture& f) {
  // A file that shrinks under its device. Direct reads, so that no cache answers.
  int a = f.open("a", O_RDWR);
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  (void)!::ftruncate(file, 8192);
  f.print("size after shrinking", 0, fmt::format("{}", f.size(a)));
  const int direct = f.open("a", O_RDWR | O_DIRECT);
  std::memset(buffer(), 'x', 8192);
  f.print("read what is gone", f.port.read(direct, buffer(), 4096, 65536));
  std::memset(buffer(), 'x', 8192);
  f.print("read across the new end", f.port.read(direct, buffer(), 8192, 4096));
  f.print("write past the new end", f.port.write(direct, buffer(), 4096, 65536));
  f.print("fsync", f.port.sync(direct));
  struct stat status {};
  ::fstat(file, &status);
  f.print("the file's size then", 0, fmt::format("{}", status.st_size));
  f.end();

  f.begin("file");
  a = f.open("a", O_RDWR);
  const int empty = f.open_file("x", 0, O_RDWR);
  f.print("bind an empty file", f.configure(a, empty), [&] { return fmt::format("{}", f.size(a)); });
  f.print("read of nothing", f.port.read(a, buffer(), 512, 0));
  f.print("write to nothing", f.port.write(a, buffer(), 512, 0));
  f.end();

  f.begin("file");
  a = f.open("a", O_RDWR);
  const int gone = f.open_file("unlinked", kMiB, O_RDWR);
  f.print("bind", f.configure(a, gone));
  f.print("own node as the file of another", f.configure(f.open("b", O_RDWR), a));
}

void device_on_device(Fixture& f) {
  int a = f.open("a", O_RDWR);
  int b = f.open("b", O_RDWR);
  const int lower = f.open_file("x", kMiB, O_RDWR);
  f.print("bind lower", f.configure(a, lower));
  f.print("bind upper", f.configure(b, a, 0, 4096), [&] { return fmt::format("size={}", f.size(b)); });
  if (f.port.mounted()) {
    loop_info64 info{};
    struct stat node {};
    f.ioctl_at(b, LOOP_GET_STATUS64, &info);
    ::stat(f.port.path("a").c_str(), &node);
    f.print("upper's status shows the lower node", 0,
            fmt::format("device={} inode={} rdevice={}", info.lo_device == node.st_dev,
                        info.lo_inode == node.st_ino, info.lo_rdevice == node.st_rdev));
  }
  char c = 0;
  f.port.read(b, &c, 1, 0);
  f.print("read through both", 0, letter(c));
  std::memset(buffer(), 'q', 4096);
  f.print("write through both", f.port.write(b, buffer(), 4096, 0));
  f.print("fsync through both", f.port.sync(b));
  f.print("a circle", f.configure(a, b));
  f.print("CLR_FD lower", f.ioctl(a, LOOP_CLR_FD), [&] { return f.status(a, lower); });
  f.print("CLR_FD upper", f.ioctl(b, LOOP_CLR_FD));
  f.close(b);
  f.close(a);
  a = f.open("a", O_RDWR);
  f.print("lower then", 0, f.status(a, lower));
  (void)!::pread(lower, &c, 1, 4096);
  f.print("the file has it", 0, letter(c));
}

void seeks(Fixture& f) {
  int a = f.open("a", O_RDWR);
  f.print("bind", f.configure(a, f.open_file("x", kMiB, O_RDWR)));
  f.close(a);
  a = f.open("a", O_RDWR);
  const auto seek = [&](off_t offset, int whence) {
    const off_t at = ::lseek(a, offset, whence);
    return at < 0 ? -errno : at;
  };
  f.print("lseek SET", seek(4096, SEEK_SET));
  f.print("lseek CUR", seek(512, SEEK_CUR));
  f.print("lseek END", seek(0, SEEK_END));
  f.print("lseek END -512", seek(-512, SEEK_END));
  f.print("lseek past the end", seek(static_cast<off_t>(kMiB) + 1, SEEK_SET));
  f.print("lseek END 1", seek(1, SEEK_END));
  f.print("lseek negative", seek(-1, SEEK_SET));
  f.print("lseek DATA", seek(0, SEEK_DATA));
  f.print("lseek HOLE", seek(0, SEEK_HOLE));
  f.print("lseek 99", seek(0, 99));
}

void mapped_and_other_calls(Fixture& f) {
  int a = f.open("a", O_RDWR);
  f.print("bind", f.configure(a, f.open_file("x", kMiB, O_RDWR)));
  f.close(a);
  a = f.open("a", O_RDWR);
  char c = 0;
  char* map = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0));
  f.print("mmap", map == MAP_FAILED ? -errno : 0);
  if (map != MAP_FAILED) {
    f.print("mapped byte", 0, letter(map[0]));
    map[0] = 'M';
    f.print("msync", ::msync(map, 8192, MS_SYNC) < 0 ? -errno : 0);
    ::munmap(map, 8192);
    (void)!::pread(a, &c, 1, 0);
    f.print("byte written through the map", 0, letter(c));
  }
  const auto call = [](long result) { return result < 0 ? -errno : result; };
  f.print("ftruncate", call(::ftruncate(a, 4096)));
  struct stat device {};
  long result = call(::stat(f.port.path("a").c_str(), &device));
  f.print("stat of the path", result,
          fmt::format("mode={:o} rdev={}:{} size={}", device.st_mode, device.st_rdev >> 8,
                      device.st_rdev & 0xff, device.st_size));
  result = call(::fstat(a, &device));
  f.print("fstat of the descriptor", result,
          fmt::format("mode={:o} size={}", device.st_mode & S_IFMT, device.st_size));
  int number = 0;
  result = call(::ioctl(a, FIONREAD, &number));
  f.print("FIONREAD", result, fmt::format("{}", number));
  result = call(::ioctl(a, FIGETBSZ, &number));
  f.print("FIGETBSZ", result, fmt::format("{}", number));
  f.print("posix_fadvise", -::posix_fadvise(a, 0, 0, POSIX_FADV_DONTNEED));
  f.print("fdatasync", call(::fdatasync(a)));
  f.print("sync_file_range", call(::sync_file_range(a, 0, 4096, SYNC_FILE_RANGE_WRITE)));
  f.print("open O_CREAT|O_EXCL",
          call(::open(f.port.path("a").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)));
  const int truncating =
      static_cast<int>(call(::open(f.port.path("a").c_str(), O_RDWR | O_TRUNC | O_CLOEXEC)));
  f.print("open O_TRUNC", truncating >= 0 ? 0 : truncating);
  f.track(truncating);
  f.print("size after O_TRUNC", 0, fmt::format("{}", f.size(a)));
  f.print("open O_DIRECTORY", call(::open(f.port.path("a").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
}

}  // namespace

void io_cases(Fixture& f) {
  int a = f.open("a", O_RDWR);
  io_at(f, a, "unbound", 4096);
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  io_at(f, a, "bound", kMiB);
  char byte = 0;
  (void)!::pread(file, &byte, 1, 10);
  f.print("the file has what was written", 0, letter(byte));
  const int reader = f.open("a", O_RDONLY), writer = f.open("a", O_WRONLY);
  f.print("write to a reader", f.port.write(reader, buffer(), 512, 0));
  f.print("read from a writer", f.port.read(writer, buffer(), 512, 0));
  if (f.port.mounted()) {
    f.print("read to a bad address", f.port.read(a, kBadAddress, 512, 0));
    f.print("write from a bad address", f.port.write(a, kBadAddress, 512, 0));
  }
  f.end();

  f.begin("io");
  a = f.open("a", O_RDWR);
  const int odd = f.open_file("x", kMiB + 300, O_RDWR);
  f.print("bind part", f.configure(a, odd, 0, 1024, 8192));
  f.port.read(a, &byte, 1, 0);
  f.print("first byte", 0, letter(byte));
  io_at(f, a, "part", 8192);
  char around[2] = {};
  (void)!::pread(odd, around, 1, 1023);
  (void)!::pread(odd, around + 1, 1, 1024 + 8192);
  f.print("neighbours untouched", 0, letter(around[0]) + letter(around[1]));
  f.end();

  f.begin("io");
  a = f.open("a", O_RDWR);
  f.print("bind read-only", f.configure(a, f.open_file("x", kMiB, O_RDONLY)));
  io_at(f, a, "read-only", kMiB);
  f.end();

  // A block of 4096 with a size that is no multiple of it.
  f.begin("io");
  a = f.open("a", O_RDWR);
  f.print("bind 4096", f.configure(a, f.open_file("x", kMiB, O_RDWR), 0, 0, 0, 4096));
  io_at(f, a, "of 4096", kMiB);
  f.end();

  f.begin("io");
  a = f.open("a", O_RDWR);
  const int write_only = f.open_file("x", kMiB, O_WRONLY);
  f.print("bind write-only file", f.configure(a, write_only));
  f.print("read of a write-only file", f.port.read(a, buffer(), 4096, 0));
  f.end();

  f.begin("io");
  a = f.open("a", O_RDWR);
  const int append = f.open_file("x", kMiB, O_RDWR | O_APPEND);
  f.print("bind appending file", f.configure(a, append));
  std::memset(buffer(), 'z', 4096);
  f.print("write there", f.port.write(a, buffer(), 4096, 0));
  f.print("fsync there", f.port.sync(a));
  struct stat status {};
  ::fstat(append, &status);
  (void)!::pread(append, &byte, 1, 0);
  f.print("where it went", 0, fmt::format("{} {}", letter(byte), status.st_size));
}

void direct_cases(Fixture& f) {
  const int file = f.open_file("x", kMiB, O_RDWR);
  int a = f.open("a", O_RDWR);
  f.print("bind", f.configure(a, file));
  f.close(a);
  a = f.open("a", O_RDWR | O_DIRECT);
  struct {
    const char* name;
    size_t shift, length;
    off_t offset;
  } const spans[] = {{"sector", 0, 512, 0},
                     {"page", 0, 4096, 4096},
                     {"odd length", 0, 100, 0},
                     {"odd offset", 0, 512, 5},
                     {"across the end", 0, 4096, static_cast<off_t>(kMiB) - 512},
                     {"at the end", 0, 512, static_cast<off_t>(kMiB)},
                     {"odd at the end", 0, 100, static_cast<off_t>(kMiB)},
                     {"odd across the end", 0, 700, static_cast<off_t>(kMiB) - 512},
                     {"nothing", 0, 0, 0},
                     {"large", 0, kMiB, 0}};
  const auto all = [&](const std::string& when) {
    for (const auto& span : spans) {
      f.print(fmt::format("read {} {}", span.name, when),
              f.port.read(a, buffer() + span.shift, span.length, span.offset));
      f.print(fmt::format("write {} {}", span.name, when),
              f.port.write(a, buffer() + span.shift, span.length, span.offset));
    }
  };
  all("O_DIRECT");
  f.print("SET_BLOCK_SIZE 4096", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 4096));
  all("O_DIRECT 4096");
  f.print("SET_DIRECT_IO 1", f.ioctl(a, LOOP_SET_DIRECT_IO, 1), [&] { return f.status(a, file); });
  f.print("SET_DIRECT_IO again", f.ioctl(a, LOOP_SET_DIRECT_IO, 5), [&] { return f.status(a, file); });
  all("direct on direct");
  loop_info64 info{};
  info.lo_offset = 777;
  f.print("odd offset drops it", f.ioctl_at(a, LOOP_SET_STATUS64, &info), [&] { return f.status(a, file); });
  f.print("SET_DIRECT_IO with an odd offset", f.ioctl(a, LOOP_SET_DIRECT_IO, 1));
  info.lo_offset = 0;
  f.print("even offset", f.ioctl_at(a, LOOP_SET_STATUS64, &info), [&] { return f.status(a, file); });
  f.print("SET_DIRECT_IO 1 again", f.ioctl(a, LOOP_SET_DIRECT_IO, 1));
  f.print("SET_DIRECT_IO 0", f.ioctl(a, LOOP_SET_DIRECT_IO, 0), [&] { return f.status(a, file); });
  f.end();

  struct {
    const char* name;
    int flags;
    uint32_t lo_flags, block_size;
    uint64_t offset;
  } const bindings[] = {{"O_DIRECT file", O_RDWR | O_DIRECT, 0, 0, 0},
                        {"DIRECT_IO flag", O_RDWR, LO_FLAGS_DIRECT_IO, 0, 0},
                        {"DIRECT_IO flag, 512", O_RDWR, LO_FLAGS_DIRECT_IO, 512, 0},
                        {"DIRECT_IO flag, 4096", O_RDWR, LO_FLAGS_DIRECT_IO, 4096, 0},
                        {"DIRECT_IO flag, odd offset", O_RDWR, LO_FLAGS_DIRECT_IO, 0, 777},
                        {"DIRECT_IO flag, offset 512", O_RDWR, LO_FLAGS_DIRECT_IO, 0, 512},
                        {"DIRECT_IO flag, read-only", O_RDONLY, LO_FLAGS_DIRECT_IO, 0, 0}};
  for (const auto& b : bindings) {
    f.begin("direct");
    const int backing = f.open_file("x", kMiB, b.flags);
    a = f.open("a", O_RDWR);
    int block_size = 0;
    const long result = f.configure(a, backing, b.lo_flags, b.offset, 0, b.block_size);
    f.ioctl_at(a, BLKSSZGET, &block_size);
    f.print(b.name, result, fmt::format("block={} size={} {}", block_size, f.size(a), f.status(a, backing)));
    char c = 0;
    f.port.read(a, &c, 1, 512);
    f.print(fmt::format("read of {}", b.name), 0, letter(c));
    f.end();
  }
  f.begin("direct");
  a = f.open("a", O_RDWR);
  const int memory = f.track(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  f.print("DIRECT_IO on a proc file", f.configure(a, memory, LO_FLAGS_DIRECT_IO));
}

void file_cases(Fixture& f) {
  changed_files(f);
  f.end();
  f.begin("file");
  device_on_device(f);
  if (!f.port.mounted()) return;
  f.end();
  f.begin("file");
  seeks(f);
  f.end();
  f.begin("file");
  mapped_and_other_calls(f);
}

void partition_cases(Fixture& f) {
  int a = f.open("a", O_RDWR);
  f.print("BLKPG add, unbound", blkpg(f, a, BLKPG_ADD_PARTITION, 1, 0, 512));
  f.print("BLKPG delete, unbound", blkpg(f, a, BLKPG_DEL_PARTITION, 1, 0, 0));
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  f.print("BLKPG null", f.ioctl(a, BLKPG));
  f.print("BLKPG bad address", f.ioctl_at(a, BLKPG, kBadAddress));
  blkpg_ioctl_arg argument{.op = BLKPG_ADD_PARTITION, .flags = 0, .datalen = 0, .data = kBadAddress};
  f.print("BLKPG bad data", f.ioctl_at(a, BLKPG, &argument));
  f.print("BLKPG operation 0", blkpg(f, a, 0, 1, 0, 512));
  f.print("BLKPG operation 99", blkpg(f, a, 99, 1, 0, 512));
  f.print("BLKPG operation 99, bad number", blkpg(f, a, 99, 0, 0, 512));
  struct {
    const char* name;
    int number;
    long long start, length;
  } const bad[] = {{"number 0", 0, 0, 512},
                   {"number -1", -1, 0, 512},
                   {"number 256", 256, 0, 512},
                   {"number 300", 300, 0, 512},
                   {"negative start", 1, -512, 512},
                   {"negative length", 1, 0, -512},
                   {"no length", 1, 0, 0},
                   {"odd start", 1, 100, 512},
                   {"odd length", 1, 512, 100},
                   {"at the end", 1, static_cast<long long>(kMiB), 512},
                   {"across the end", 1, static_cast<long long>(kMiB) - 512, 1024},
                   {"far", 1, 1LL << 60, 512},
                   {"overflow", 1, LLONG_MAX - 511, 1024}};
  for (const auto& b : bad)
    f.print(fmt::format("BLKPG add {}", b.name),
            blkpg(f, a, BLKPG_ADD_PARTITION, b.number, b.start, b.length));
  f.print("BLKPG add 1", blkpg(f, a, BLKPG_ADD_PARTITION, 1, 65536, 65536));
  f.print("BLKPG add 1 again", blkpg(f, a, BLKPG_ADD_PARTITION, 1, 65536, 65536));
  f.print("BLKPG add 1 elsewhere", blkpg(f, a, BLKPG_ADD_PARTITION, 1, 262144, 65536));
  f.print("BLKPG add overlapping", blkpg(f, a, BLKPG_ADD_PARTITION, 2, 98304, 65536));
  f.print("BLKPG add 255", blkpg(f, a, BLKPG_ADD_PARTITION, 255, 524288, 512));
  f.print("BLKPG resize none", blkpg(f, a, BLKPG_RESIZE_PARTITION, 7, 65536, 512));
  f.print("BLKPG resize 300", blkpg(f, a, BLKPG_RESIZE_PARTITION, 300, 65536, 512));
  f.print("BLKPG resize start", blkpg(f, a, BLKPG_RESIZE_PARTITION, 1, 65536 + 512, 512));
  f.print("BLKPG resize onto another", blkpg(f, a, BLKPG_RESIZE_PARTITION, 1, 65536, 524288));
  f.print("BLKPG resize", blkpg(f, a, BLKPG_RESIZE_PARTITION, 1, 65536, 131072));
  f.print("BLKPG delete none", blkpg(f, a, BLKPG_DEL_PARTITION, 9, 0, 0));
  f.print("BLKPG delete 300", blkpg(f, a, BLKPG_DEL_PARTITION, 300, 0, 0));
  f.print("BLKPG delete 255", blkpg(f, a, BLKPG_DEL_PARTITION, 255, 0, 0));
  const int reader = f.open("a", O_RDONLY);
  f.print("BLKPG through a reader", blkpg(f, reader, BLKPG_ADD_PARTITION, 3, 524288, 512));
  f.close(reader);

  const int p = f.open("a1", O_RDWR);
  f.print("open a partition", p >= 0 ? 0 : p, fmt::format("size={}", f.size(p)));
  char c = 0;
  f.print("read it", f.port.read(p, &c, 1, 512), [&] { return letter(c); });
  f.print("read past its end", f.port.read(p, buffer(), 4096, 131072 - 512));
  f.print("write past its end", f.port.write(p, buffer(), 512, 131072));
  f.print("GET_STATUS64 on it", 0, f.status(p, file));
  f.print("BLKRRPART on it", f.ioctl(p, BLKRRPART));
  f.print("BLKPG on it", blkpg(f, p, BLKPG_ADD_PARTITION, 4, 0, 512));
  f.print("BLKPG on it, bad number", blkpg(f, p, BLKPG_DEL_PARTITION, 0, 0, 512));
  f.print("BLKPG delete while open", blkpg(f, a, BLKPG_DEL_PARTITION, 1, 0, 0));
  f.print("BLKPG resize while open", blkpg(f, a, BLKPG_RESIZE_PARTITION, 1, 65536, 65536),
          [&] { return fmt::format("size={}", f.size(p)); });
  f.print("CONFIGURE through it", f.configure(p, file));
  const int claimed = f.open("a1", O_RDWR | O_EXCL);
  f.print("O_EXCL on it", claimed >= 0 ? 0 : claimed);
  f.print("O_EXCL on the disk then", f.open("a", O_RDWR | O_EXCL));
  f.print("O_EXCL on it twice", f.open("a1", O_RDWR | O_EXCL));
  f.print("SET_BLOCK_SIZE on the disk then", f.ioctl(a, LOOP_SET_BLOCK_SIZE, 4096));
  f.close(claimed);
  const int disk = f.open("a", O_RDWR | O_EXCL);
  f.print("O_EXCL on the disk", disk >= 0 ? 0 : disk);
  f.print("O_EXCL on it now", f.open("a1", O_RDWR | O_EXCL));
  f.close(disk);
  f.print("CLR_FD with an open partition", f.ioctl(a, LOOP_CLR_FD), [&] { return f.status(a, file); });
  f.close(a);
  f.print("its size", 0, fmt::format("{}", f.size(p)));
  f.close(p);
}

void table_cases(Fixture& f) {
  const int a = f.open("a", O_RDWR);
  const std::string path = f.file("x", kMiB);
  write_mbr(path);
  const int table = f.track(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  f.print("bind with partscan", f.configure(a, table, LO_FLAGS_PARTSCAN));
  // Not every kernel is built with MBR support: run.sh then leaves this group out.
  if (const int probe = f.open("a1", O_RDONLY); probe < 0) {
    f.print("unsupported", probe);
    return;
  } else {
    f.close(probe);
  }
  const int first = f.open("a1", O_RDWR), second = f.open("a2", O_RDONLY), third = f.open("a3", O_RDONLY);
  f.print("first", first >= 0 ? 0 : first, fmt::format("size={}", f.size(first)));
  f.print("second", second >= 0 ? 0 : second, fmt::format("size={}", f.size(second)));
  f.print("third", third);
  f.print("BLKRRPART with open partitions", f.ioctl(a, BLKRRPART));
  f.close(first);
  f.close(second);
  f.print("BLKRRPART", f.ioctl(a, BLKRRPART));
  const int exclusive = f.open("a", O_RDWR | O_EXCL);
  f.print("BLKRRPART beside O_EXCL", f.ioctl(a, BLKRRPART));
  f.print("BLKRRPART by O_EXCL", f.ioctl(exclusive, BLKRRPART));
  f.close(exclusive);
  std::memset(buffer(), 0, 512);
  f.print("wipe", f.port.write(a, buffer(), 512, 0));
  f.print("BLKRRPART after wiping", f.ioctl(a, BLKRRPART));
  f.print("first is gone", f.open("a1", O_RDONLY));
  f.print("CLR_FD", f.ioctl(a, LOOP_CLR_FD));
}

}  // namespace parity
