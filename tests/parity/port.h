// The calls that the parity cases make, on a real kernel's device or on ours.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace parity {

// Each call returns what the system call does, or -errno. Names: "control", "a", "b" (two loop devices),
// "a1" (a partition of the first).
class Port {
 public:
  virtual ~Port() = default;
  virtual int open(const std::string& name, int flags) = 0;
  virtual long close(int fd) = 0;
  virtual long ioctl(int fd, unsigned long command, unsigned long argument) = 0;
  virtual long read(int fd, void* bytes, size_t size, off_t offset) = 0;
  virtual long write(int fd, const void* bytes, size_t size, off_t offset) = 0;
  virtual long allocate(int fd, int mode, off_t offset, off_t length) = 0;
  virtual long sync(int fd) = 0;
  // Whether calls that only a mounted instance answers (lseek, stat, mmap, truncate) may be made.
  virtual bool mounted() const = 0;
  virtual std::string path(const std::string& name) const = 0;
};

constexpr int kDeviceA = 77, kDeviceB = 78;  // nobody else uses these numbers

// `keep_old`: a descriptor that is open when its device is bound stays what it is, since another one binds it.
std::unique_ptr<Port> path_port(const std::string& dev_directory, bool keep_old);
std::unique_ptr<Port> engine_port();

}  // namespace parity
