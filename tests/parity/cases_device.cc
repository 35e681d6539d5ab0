// Cases of loop-control and of binding, changing and clearing a device.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "fixture.h"

namespace parity {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const auto kBadAddress = reinterpret_cast<void*>(8);

struct NamedFd {
  const char* name;
  int fd;
};

// Descriptors that no device can be bound to.
std::vector<NamedFd> bad_files(Fixture& f) {
  int pipe[2], sockets[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    return {};
  for (const int fd : {pipe[0], pipe[1], sockets[0], sockets[1]}) f.track(fd);
  return {{"fd -1", -1},
          {"closed fd", 9999},
          {"directory", f.track(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC))},
          {"pipe", pipe[0]},
          {"pipe write end", pipe[1]},
          {"socket", sockets[0]},
          {"/dev/null", f.track(::open("/dev/null", O_RDWR | O_CLOEXEC))},
          {"/dev/zero", f.track(::open("/dev/zero", O_RDWR | O_CLOEXEC))},
          {"O_PATH", f.track(::open(f.file("o_path", kMiB).c_str(), O_PATH | O_CLOEXEC))},
          {"/proc file", f.track(::open("/proc/self/status", O_RDONLY | O_CLOEXEC))}};
}

std::string name_text(Fixture& f, int device) {
  loop_info64 info{};
  const long result = f.ioctl_at(device, LOOP_GET_STATUS64, &info);
  if (result < 0) return errno_name(result);
  return fmt::format("length {}", std::strlen(reinterpret_cast<char*>(info.lo_file_name)));
}

}  // namespace

void control_cases(Fixture& f) {
  const int control = f.open("control", O_RDWR);
  f.print("ADD existing", f.ioctl(control, LOOP_CTL_ADD, kDeviceA));
  const long added = f.ioctl(control, LOOP_CTL_ADD, static_cast<unsigned long>(-1));
  f.print("ADD -1", added >= 0 ? 0 : added);
  if (added >= 0)
    f.print("REMOVE what ADD -1 made", f.ioctl(control, LOOP_CTL_REMOVE, static_cast<unsigned long>(added)));
  const long free = f.ioctl(control, LOOP_CTL_GET_FREE);
  f.print("GET_FREE", free >= 0 ? 0 : free);
  f.print("REMOVE -1", f.ioctl(control, LOOP_CTL_REMOVE, static_cast<unsigned long>(-1)));
  f.print("REMOVE none there", f.ioctl(control, LOOP_CTL_REMOVE, 3333));
  f.print("REMOVE INT_MAX", f.ioctl(control, LOOP_CTL_REMOVE, INT_MAX));
  f.print("unknown 0x4c83", f.ioctl(control, 0x4C83));
  f.print("LOOP_SET_FD", f.ioctl(control, LOOP_SET_FD));
  f.print("LOOP_GET_STATUS64", f.ioctl(control, LOOP_GET_STATUS64));
  const int read_only = f.open("control", O_RDONLY);
  f.print("ADD through a read-only descriptor", f.ioctl(read_only, LOOP_CTL_ADD, kDeviceB));
  const int a = f.open("a", O_RDWR);
  f.print("REMOVE open", f.ioctl(control, LOOP_CTL_REMOVE, kDeviceA));
  f.print("bind", f.configure(a, f.open_file("x", kMiB, O_RDWR)));
  f.print("REMOVE bound and open", f.ioctl(control, LOOP_CTL_REMOVE, kDeviceA));
  f.print("close", f.close(a));
  f.print("REMOVE bound", f.ioctl(control, LOOP_CTL_REMOVE, kDeviceA));
  f.print("REMOVE unused", f.ioctl(control, LOOP_CTL_REMOVE, kDeviceB));
  f.print("REMOVE twice", f.ioctl(control, LOOP_CTL_REMOVE, kDeviceB));
  f.print("open removed", f.open("b", O_RDWR) >= 0 ? 0 : -1);
  f.print("ADD again", f.ioctl(control, LOOP_CTL_ADD, kDeviceB));
  char byte;
  f.print("read", f.port.read(control, &byte, 1, 0));
  f.print("write", f.port.write(control, &byte, 1, 0));
}

void bind_cases(Fixture& f) {
  const int a = f.open("a", O_RDWR), b = f.open("b", O_RDWR);
  for (const auto& bad : bad_files(f)) {
    f.print(fmt::format("SET_FD {}", bad.name), f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(bad.fd)));
    f.print(fmt::format("CONFIGURE {}", bad.name), f.configure(a, bad.fd));
  }
  f.print("CONFIGURE bad address", f.ioctl_at(a, LOOP_CONFIGURE, kBadAddress));
  f.print("CONFIGURE null", f.ioctl(a, LOOP_CONFIGURE));
  f.print("SET_FD own node",
          f.port.mounted() ? f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(a)) : f.configure(a, a));
  f.print("SET_FD unbound device", f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(b)));
  f.print("SET_FD loop-control",
          f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(f.open("control", O_RDWR))));

  const int file = f.open_file("x", kMiB, O_RDWR);
  for (const uint32_t flags : {0x2u, 0x20u, 0x80000000u, 0xffffffffu}) {
    f.print(fmt::format("CONFIGURE flags {:#x}", flags), f.configure(a, file, flags));
  }
  for (const uint32_t size : {1u, 256u, 511u, 1000u, 3072u, 131072u, 0x80000000u, 0xffffffffu}) {
    f.print(fmt::format("CONFIGURE block size {}", size), f.configure(a, file, 0, 0, 0, size));
  }
  f.print("CONFIGURE offset 2^63", f.configure(a, file, 0, 1ULL << 63));
  f.print("CONFIGURE sizelimit 2^63", f.configure(a, file, 0, 0, 1ULL << 63));
  f.print("CONFIGURE unknown flags on a bad file",
          f.configure(a, f.track(::open("/dev/null", O_RDWR | O_CLOEXEC)), 2));
  loop_config config{};
  config.fd = static_cast<uint32_t>(file);
  config.info.lo_encrypt_type = LO_CRYPT_XOR;
  f.print("CONFIGURE xor", f.ioctl_at(a, LOOP_CONFIGURE, &config));
  config.info.lo_encrypt_type = LO_CRYPT_CRYPTOAPI;
  f.print("CONFIGURE cryptoapi", f.ioctl_at(a, LOOP_CONFIGURE, &config));
  config.info.lo_encrypt_type = 77;
  f.print("CONFIGURE crypt 77", f.ioctl_at(a, LOOP_CONFIGURE, &config));
  config.info.lo_encrypt_type = 0;
  config.info.lo_encrypt_key_size = 33;
  f.print("CONFIGURE key of 33 bytes", f.ioctl_at(a, LOOP_CONFIGURE, &config));
  config.info.lo_encrypt_key_size = 32;
  f.print("CONFIGURE key of 32 bytes", f.ioctl_at(a, LOOP_CONFIGURE, &config),
          [&] { return f.status(a, file); });

  f.print("SET_FD bound", f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(file)));
  f.print("CONFIGURE bound", f.configure(a, file));
  f.print("CONFIGURE bound, bad fd", f.configure(a, -1));
  f.print("CONFIGURE bound, directory", f.configure(a, f.track(::open("/", O_RDONLY | O_CLOEXEC))));
  f.print("CONFIGURE bound, /dev/null", f.configure(a, f.track(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
  f.print("CONFIGURE bound, unknown flags", f.configure(a, file, 2));
  f.print("same file on a second device", f.configure(b, file), [&] { return f.status(b, file); });
}

// Valid bindings, each on a device that was cleared before.
void status_cases(Fixture& f) {
  struct {
    const char* name;
    int file_flags, device_flags;
    uint32_t flags;
    uint64_t offset, sizelimit;
    uint32_t block_size;
  } const bindings[] = {
      {"plain", O_RDWR, O_RDWR, 0, 0, 0, 0},
      {"read-only file", O_RDONLY, O_RDWR, 0, 0, 0, 0},
      {"read-only device", O_RDWR, O_RDONLY, 0, 0, 0, 0},
      {"write-only file", O_WRONLY, O_RDWR, 0, 0, 0, 0},
      {"appending file", O_RDWR | O_APPEND, O_RDWR, 0, 0, 0, 0},
      {"exclusive device", O_RDWR, O_RDWR | O_EXCL, 0, 0, 0, 0},
      {"READ_ONLY", O_RDWR, O_RDWR, LO_FLAGS_READ_ONLY, 0, 0, 0},
      {"AUTOCLEAR", O_RDWR, O_RDWR, LO_FLAGS_AUTOCLEAR, 0, 0, 0},
      {"PARTSCAN", O_RDWR, O_RDWR, LO_FLAGS_PARTSCAN, 0, 0, 0},
      {"all flags but direct", O_RDWR, O_RDWR, LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN, 0,
       0, 0},
      {"offset", O_RDWR, O_RDWR, 0, 4096, 0, 0},
      {"odd offset", O_RDWR, O_RDWR, 0, 777, 0, 0},
      {"offset at the end", O_RDWR, O_RDWR, 0, kMiB + 100, 0, 0},
      {"offset past the end", O_RDWR, O_RDWR, 0, 5 * kMiB, 0, 0},
      {"offset 2^62", O_RDWR, O_RDWR, 0, 1ULL << 62, 0, 0},
      {"offset 2^63-1", O_RDWR, O_RDWR, 0, (1ULL << 63) - 1, 0, 0},
      {"sizelimit", O_RDWR, O_RDWR, 0, 0, 65536, 0},
      {"odd sizelimit", O_RDWR, O_RDWR, 0, 512, 10000, 0},
      {"sizelimit 511", O_RDWR, O_RDWR, 0, 0, 511, 0},
      {"large sizelimit", O_RDWR, O_RDWR, 0, 0, 100 * kMiB, 0},
      {"sizelimit 2^63-1", O_RDWR, O_RDWR, 0, 0, (1ULL << 63) - 1, 0},
      {"block size 512", O_RDWR, O_RDWR, 0, 0, 0, 512},
      {"block size 1024", O_RDWR, O_RDWR, 0, 0, 0, 1024},
      {"block size 4096", O_RDWR, O_RDWR, 0, 0, 0, 4096},
      {"block size 8192", O_RDWR, O_RDWR, 0, 0, 0, 8192},
      {"block size 65536", O_RDWR, O_RDWR, 0, 0, 0, 65536},
  };
  f.print("GET_STATUS64 unbound", -0, f.status(f.open("a", O_RDONLY), -1));
  loop_info old{};
  loop_info64 info{};
  int a = f.open("a", O_RDWR);
  f.print("GET_STATUS unbound", f.ioctl_at(a, LOOP_GET_STATUS, &old));
  f.print("SET_STATUS unbound", f.ioctl_at(a, LOOP_SET_STATUS, &old));
  f.print("SET_STATUS64 unbound", f.ioctl_at(a, LOOP_SET_STATUS64, &info));
  f.print("GET_STATUS unbound null", f.ioctl(a, LOOP_GET_STATUS));
  f.print("GET_STATUS64 unbound bad address", f.ioctl_at(a, LOOP_GET_STATUS64, kBadAddress));
  f.print("SET_STATUS64 unbound bad address", f.ioctl_at(a, LOOP_SET_STATUS64, kBadAddress));
  f.end();
  for (const auto& binding : bindings) {
    f.begin("status");
    const int file = f.open_file("x", kMiB + 100, binding.file_flags);
    const int device = f.open("a", binding.device_flags);
    f.print(binding.name,
            f.configure(device, file, binding.flags, binding.offset, binding.sizelimit, binding.block_size),
            [&] { return fmt::format("size={} {}", f.size(device), f.status(device, file)); });
    f.end();
  }

  f.begin("status");
  a = f.open("a", O_RDWR);
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("SET_FD", f.ioctl(a, LOOP_SET_FD, static_cast<unsigned long>(file)),
          [&] { return f.status(a, file); });
  f.print("GET_STATUS null", f.ioctl(a, LOOP_GET_STATUS));
  f.print("GET_STATUS64 null", f.ioctl(a, LOOP_GET_STATUS64));
  f.print("GET_STATUS64 bad address", f.ioctl_at(a, LOOP_GET_STATUS64, kBadAddress));
  f.print("GET_STATUS bad address", f.ioctl_at(a, LOOP_GET_STATUS, kBadAddress));
  f.print("SET_STATUS bad address", f.ioctl_at(a, LOOP_SET_STATUS, kBadAddress));
  f.print("SET_STATUS64 null", f.ioctl(a, LOOP_SET_STATUS64));

  info.lo_flags = 0xffffffffu & ~uint32_t{LO_FLAGS_PARTSCAN};
  f.print("SET_STATUS64 unknown flags", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return f.status(a, file); });
  info = {};
  f.print("SET_STATUS64 clears autoclear", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return f.status(a, file); });
  info.lo_flags = LO_FLAGS_PARTSCAN;
  f.print("SET_STATUS64 PARTSCAN", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return f.status(a, file); });
  info = {};
  f.print("SET_STATUS64 keeps PARTSCAN", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return f.status(a, file); });
  info.lo_offset = 4096;
  info.lo_sizelimit = 8192;
  std::strcpy(reinterpret_cast<char*>(info.lo_file_name), "some name");
  f.print("SET_STATUS64 offset", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return fmt::format("size={} {}", f.size(a), f.status(a, file)); });
  info.lo_offset = 3;
  info.lo_sizelimit = 0;
  std::memset(info.lo_file_name, 'n', sizeof info.lo_file_name);
  std::memset(info.lo_crypt_name, 'c', sizeof info.lo_crypt_name);
  f.print("SET_STATUS64 odd offset, full name", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return fmt::format("size={} {}", f.size(a), name_text(f, a)); });
  info.lo_offset = 1ULL << 63;
  f.print("SET_STATUS64 offset 2^63", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return fmt::format("size={}", f.size(a)); });
  info.lo_offset = 0;
  info.lo_sizelimit = 1ULL << 63;
  f.print("SET_STATUS64 sizelimit 2^63", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return fmt::format("size={}", f.size(a)); });
  info.lo_sizelimit = 0;
  info.lo_encrypt_type = LO_CRYPT_XOR;
  f.print("SET_STATUS64 xor", f.ioctl_at(a, LOOP_SET_STATUS64, &info));
  info.lo_encrypt_type = 0;
  info.lo_encrypt_key_size = 33;
  f.print("SET_STATUS64 key of 33 bytes", f.ioctl_at(a, LOOP_SET_STATUS64, &info));
  info.lo_encrypt_key_size = 0;
  info.lo_number = 99;
  info.lo_inode = 99;
  f.print("SET_STATUS64 number and inode", f.ioctl_at(a, LOOP_SET_STATUS64, &info));

  f.print("GET_STATUS", f.ioctl_at(a, LOOP_GET_STATUS, &old), [&] {
    return fmt::format("number={} offset={} flags={:#x} name length {}", old.lo_number, old.lo_offset,
                       old.lo_flags, std::strlen(old.lo_name));
  });
  old = {};
  old.lo_offset = 8192;
  std::strcpy(old.lo_name, "old");
  f.print("SET_STATUS", f.ioctl_at(a, LOOP_SET_STATUS, &old),
          [&] { return fmt::format("size={} {}", f.size(a), f.status(a, file)); });
  old.lo_offset = -512;
  f.print("SET_STATUS negative offset", f.ioctl_at(a, LOOP_SET_STATUS, &old));
  info = {};
  info.lo_offset = 1ULL << 32;
  f.print("SET_STATUS64 offset 2^32", f.ioctl_at(a, LOOP_SET_STATUS64, &info),
          [&] { return fmt::format("size={}", f.size(a)); });
  f.print("GET_STATUS of it", f.ioctl_at(a, LOOP_GET_STATUS, &old));

  const int reader = f.open("a", O_RDONLY);
  info = {};
  f.print("SET_STATUS64 through a read-only descriptor, as root",
          f.ioctl_at(reader, LOOP_SET_STATUS64, &info));
  const int owner = f.open("a", O_RDONLY | O_EXCL);
  info.lo_flags = LO_FLAGS_AUTOCLEAR;
  f.print("SET_STATUS64 while another has it exclusively", f.ioctl_at(a, LOOP_SET_STATUS64, &info));
  f.print("SET_STATUS64 by the exclusive opener", f.ioctl_at(owner, LOOP_SET_STATUS64, &info));
}

void clear_cases(Fixture& f) {
  int a = f.open("a", O_RDWR);
  f.print("CLR_FD unbound", f.ioctl(a, LOOP_CLR_FD));
  const int file = f.open_file("x", kMiB, O_RDWR);
  f.print("bind", f.configure(a, file));
  f.print("CLR_FD, one opener", f.ioctl(a, LOOP_CLR_FD));
  f.print("GET_STATUS64 in rundown", 0, f.status(a, file));
  f.print("size in rundown", 0, fmt::format("{}", f.size(a)));
  f.print("open in rundown", f.open("a", O_RDWR));
  f.print("CLR_FD twice", f.ioctl(a, LOOP_CLR_FD));
  f.print("CONFIGURE in rundown", f.configure(a, file));
  f.print("SET_CAPACITY in rundown", f.ioctl(a, LOOP_SET_CAPACITY));
  char bytes[512];
  f.print("write in rundown", f.port.write(a, bytes, 512, 0) > 0 ? 0 : -EIO);
  f.print("close", f.close(a));
  a = f.open("a", O_RDWR);
  f.print("after the close", 0, fmt::format("size={} {}", f.size(a), f.status(a, file)));

  f.print("bind again", f.configure(a, file));
  const int second = f.open("a", O_RDONLY);
  f.print("CLR_FD, two openers", f.ioctl(a, LOOP_CLR_FD), [&] { return f.status(a, file); });
  f.print("CLR_FD twice, two openers", f.ioctl(a, LOOP_CLR_FD));
  f.print("close one", f.close(a));
  f.print("still bound", 0, f.status(second, file));
  f.print("close the other", f.close(second));
  a = f.open("a", O_RDWR);
  f.print("cleared", 0, f.status(a, file));

  f.print("bind autoclear", f.configure(a, file, LO_FLAGS_AUTOCLEAR));
  const int third = f.open("a", O_RDONLY);
  f.close(a);
  f.print("autoclear, one left", 0, f.status(third, file));
  f.close(third);
  a = f.open("a", O_RDWR);
  f.print("autoclear, none left", 0, f.status(a, file));

  f.print("bind with block size 4096", f.configure(a, file, 0, 0, 0, 4096));
  const uint64_t sequence = f.sequence(a);
  f.ioctl(a, LOOP_CLR_FD);
  f.close(a);
  a = f.open("a", O_RDONLY);
  f.print("sequence grows when cleared", 0, f.sequence(a) > sequence ? "yes" : "no");
  f.print("CLR_FD through a read-only descriptor, unbound", f.ioctl(a, LOOP_CLR_FD));
  f.print("bind through a read-only descriptor", f.configure(a, file), [&] { return f.status(a, file); });
  f.print("CLR_FD through a read-only descriptor", f.ioctl(a, LOOP_CLR_FD));
  f.close(a);

  const int first = f.open("a", O_RDWR | O_EXCL);
  f.print("O_EXCL twice", f.open("a", O_RDWR | O_EXCL));
  const int plain = f.open("a", O_RDWR);
  f.print("open beside O_EXCL", plain >= 0 ? 0 : plain);
  f.print("CONFIGURE beside O_EXCL", f.configure(plain, file));
  f.print("CONFIGURE beside O_EXCL, bad fd", f.configure(plain, -1));
  f.print("CONFIGURE beside O_EXCL, /dev/null",
          f.configure(plain, f.track(::open("/dev/null", O_RDWR | O_CLOEXEC))));
  f.print("CONFIGURE by O_EXCL", f.configure(first, file));
  f.print("SET_BLOCK_SIZE beside O_EXCL", f.ioctl(plain, LOOP_SET_BLOCK_SIZE, 4096));
  f.print("SET_BLOCK_SIZE beside O_EXCL, the same", f.ioctl(plain, LOOP_SET_BLOCK_SIZE, 512));
  f.print("SET_CAPACITY beside O_EXCL", f.ioctl(plain, LOOP_SET_CAPACITY));
  f.print("CLR_FD beside O_EXCL", f.ioctl(plain, LOOP_CLR_FD));
  f.close(first);
  f.close(plain);
  const int again = f.open("a", O_RDWR | O_EXCL);
  f.print("O_EXCL after both are closed", again >= 0 ? 0 : again);
}

void change_cases(Fixture& f) {
  const int a = f.open("a", O_RDWR), b = f.open("b", O_RDWR);
  const int one = f.open_file("one", kMiB, O_RDONLY), two = f.open_file("two", kMiB, O_RDONLY);
  const auto change = [&](int fd) { return f.ioctl(a, LOOP_CHANGE_FD, static_cast<unsigned long>(fd)); };
  f.print("unbound", change(one));
  f.print("unbound, bad fd", change(-1));
  f.print("unbound, directory", change(f.track(::open("/", O_RDONLY | O_CLOEXEC))));
  f.print("bind writable", f.configure(a, f.open_file("three", kMiB, O_RDWR)));
  f.print("not read-only", change(one));
  f.print("not read-only, /dev/null", change(f.track(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
  f.end();

  f.begin("change");
  const int device = f.open("a", O_RDWR);
  const int first = f.open_file("one", kMiB, O_RDONLY), second = f.open_file("two", kMiB, O_RDONLY);
  const auto swap = [&](int fd) { return f.ioctl(device, LOOP_CHANGE_FD, static_cast<unsigned long>(fd)); };
  f.print("bind", f.configure(device, first));
  for (const auto& bad : bad_files(f)) f.print(bad.name, swap(bad.fd));
  f.print("smaller", swap(f.open_file("small", kMiB / 2, O_RDONLY)));
  f.print("larger", swap(f.open_file("large", 2 * kMiB, O_RDONLY)));
  f.print("larger by less than a sector", swap(f.open_file("larger", kMiB + 511, O_RDONLY)));
  f.print("own node", swap(device));
  f.print("unbound device", swap(f.open("b", O_RDONLY)));
  const uint64_t sequence = f.sequence(device);
  f.print("same size", swap(second), [&] { return f.status(device, second); });
  f.print("sequence grows", 0, f.sequence(device) > sequence ? "yes" : "no");
  f.print("writable file", swap(f.open_file("three", kMiB, O_RDWR)));
  f.print("the same file again", swap(f.open_file("three", kMiB, O_RDONLY)));
  const int reader = f.open("a", O_RDONLY);
  f.print("through a read-only descriptor",
          f.ioctl(reader, LOOP_CHANGE_FD, static_cast<unsigned long>(first)));
  (void)b;
  (void)two;
}

}  // namespace parity
