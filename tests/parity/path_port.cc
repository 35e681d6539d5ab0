#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "port.h"

namespace parity {
namespace {

long result(long value) {
  return value < 0 ? -errno : value;
}

// Devices by their path: a real kernel's, or those of the sandbox that this runs in.
class PathPort final : public Port {
 public:
  explicit PathPort(std::string directory) : directory_(std::move(directory)) {}

  std::string path(const std::string& name) const override {
    if (name == "control") return directory_ + "/loop-control";
    std::string path = directory_ + "/loop" + std::to_string(name[0] == 'a' ? kDeviceA : kDeviceB);
    return name.size() > 1 ? path + "p" + name.substr(1) : path;
  }
  int open(const std::string& name, int flags) override {
    return static_cast<int>(result(::open(path(name).c_str(), flags | O_CLOEXEC)));
  }
  long close(int fd) override { return result(::close(fd)); }
  long ioctl(int fd, unsigned long command, unsigned long argument) override {
    return result(::ioctl(fd, command, argument));
  }
  long read(int fd, void* bytes, size_t size, off_t offset) override {
    return result(::pread(fd, bytes, size, offset));
  }
  long write(int fd, const void* bytes, size_t size, off_t offset) override {
    return result(::pwrite(fd, bytes, size, offset));
  }
  long allocate(int fd, int mode, off_t offset, off_t length) override {
    return result(::fallocate(fd, mode, offset, length));
  }
  long sync(int fd) override { return result(::fsync(fd)); }
  bool mounted() const override { return true; }

 private:
  const std::string directory_;
};

}  // namespace

std::unique_ptr<Port> path_port(const std::string& dev_directory) {
  return std::make_unique<PathPort>(dev_directory);
}

}  // namespace parity
