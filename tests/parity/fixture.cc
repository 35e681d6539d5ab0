#include "fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

namespace parity {
namespace {

// The host's udev may have a look at a new device, and the kernel's own clean-up is asynchronous: only
// EBUSY for a short time is accepted when a group begins or ends.
long patiently(const std::function<long()>& call) {
  long result = 0;
  for (int i = 0; i < 200; ++i) {
    result = call();
    if (result != -EBUSY) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return result;
}

}  // namespace

std::string errno_name(long result) {
  if (result >= 0) return std::to_string(result);
  const char* name = strerrorname_np(static_cast<int>(-result));
  return name ? name : std::to_string(result);
}

void Fixture::begin(const std::string& group) {
  group_ = group;
  const int control = open("control", O_RDWR);
  for (const int device : {kDeviceA, kDeviceB}) {
    const long added = ioctl(control, LOOP_CTL_ADD, static_cast<unsigned long>(device));
    if (added == device || added == -EEXIST) continue;
    std::fprintf(stderr, "parity: LOOP_CTL_ADD %d: %s\n", device, errno_name(added).c_str());
    std::exit(2);
  }
  close(control);
}

void Fixture::end() {
  for (const int fd : nodes_) port.close(fd);
  nodes_.clear();
  for (const int fd : files_) ::close(fd);
  files_.clear();
  const int control = port.open("control", O_RDWR);
  if (control < 0) return;
  for (const char* name : {"a", "b"}) {
    const int fd = port.open(name, O_RDWR);
    if (fd < 0) continue;
    port.ioctl(fd, LOOP_CLR_FD, 0);
    port.close(fd);
  }
  for (const int device : {kDeviceA, kDeviceB}) {
    const long removed =
        patiently([&] { return port.ioctl(control, LOOP_CTL_REMOVE, static_cast<unsigned long>(device)); });
    if (removed < 0 && removed != -ENODEV) {
      std::printf("%s/end: cannot remove device %d: %s\n", group_.c_str(), device,
                  errno_name(removed).c_str());
    }
  }
  port.close(control);
}

void Fixture::print(const std::string& name, long result, const std::string& extra) const {
  std::printf("%s/%s: %s%s%s\n", group_.c_str(), name.c_str(), errno_name(result).c_str(),
              extra.empty() ? "" : " ", extra.c_str());
  std::fflush(stdout);
}

int Fixture::open(const std::string& name, int flags) {
  const int fd = port.open(name, flags);
  if (fd >= 0) nodes_.push_back(fd);
  return fd;
}

long Fixture::close(int fd) {
  if (fd < 0) return -EBADF;
  std::erase(nodes_, fd);
  return port.close(fd);
}

std::string Fixture::file(const std::string& name, uint64_t size) const {
  const std::string path = folder_ + "/" + name;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::string content(size, '\0');
  for (uint64_t i = 0; i < size; ++i) content[i] = static_cast<char>('a' + (i / 512) % 26);
  if (fd < 0 || ::pwrite(fd, content.data(), size, 0) != static_cast<ssize_t>(size)) {
    std::perror(path.c_str());
    std::exit(2);
  }
  ::close(fd);
  return path;
}

int Fixture::track(int fd) {
  if (fd >= 0) files_.push_back(fd);
  return fd;
}

int Fixture::open_file(const std::string& name, uint64_t size, int flags) {
  return track(::open(file(name, size).c_str(), flags | O_CLOEXEC));
}

long Fixture::configure(int fd, int file, uint32_t flags, uint64_t offset, uint64_t sizelimit,
                        uint32_t block_size) {
  loop_config config{};
  config.fd = static_cast<uint32_t>(file);
  config.block_size = block_size;
  config.info.lo_flags = flags;
  config.info.lo_offset = offset;
  config.info.lo_sizelimit = sizelimit;
  return ioctl_at(fd, LOOP_CONFIGURE, &config);
}

uint64_t Fixture::size(int fd) {
  uint64_t size = ~uint64_t{0};
  ioctl_at(fd, BLKGETSIZE64, &size);
  return size;
}

uint64_t Fixture::sequence(int fd) {
  uint64_t sequence = 0;
  ioctl_at(fd, BLKGETDISKSEQ, &sequence);
  return sequence;
}

std::string Fixture::status(int fd, int file) {
  loop_info64 info;
  std::memset(&info, 0xee, sizeof info);
  const long result = ioctl_at(fd, LOOP_GET_STATUS64, &info);
  if (result < 0) return errno_name(result);
  struct stat status {};
  ::fstat(file, &status);
  return fmt::format(
      "number={} offset={} sizelimit={} flags={:#x} crypt={}/{} name='{}' device={} inode={}", info.lo_number,
      uint64_t{info.lo_offset}, uint64_t{info.lo_sizelimit}, info.lo_flags, info.lo_encrypt_type,
      info.lo_encrypt_key_size, reinterpret_cast<const char*>(info.lo_file_name),
      info.lo_device == status.st_dev ? "same" : "other", info.lo_inode == status.st_ino ? "same" : "other");
}

}  // namespace parity
