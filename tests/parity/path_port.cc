#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <map>

#include "port.h"

namespace parity {
namespace {

long result(long value) {
  return value < 0 ? -errno : value;
}

// Devices by their path: a real kernel's, or those of the sandbox that this runs in.
class PathPort final : public Port {
 public:
  PathPort(std::string directory, bool keep_old) : directory_(std::move(directory)), keep_old_(keep_old) {}

  std::string path(const std::string& name) const override {
    if (name == "control") return directory_ + "/loop-control";
    std::string path = directory_ + "/loop" + std::to_string(name[0] == 'a' ? kDeviceA : kDeviceB);
    return name.size() > 1 ? path + "p" + name.substr(1) : path;
  }
  int open(const std::string& name, int flags) override {
    const int fd = static_cast<int>(result(::open(path(name).c_str(), flags | O_CLOEXEC)));
    if (fd >= 0) open_[fd] = {name, flags};
    return fd;
  }
  long close(int fd) override {
    open_.erase(fd);
    return result(::close(fd));
  }
  long ioctl(int fd, unsigned long command, unsigned long argument) override {
    const auto known = open_.find(fd);
    const bool binds = command == LOOP_CONFIGURE || command == LOOP_SET_FD;
    // Who has a claim binds the device himself: nobody else could.
    if (keep_old_ && binds && known != open_.end() && (known->second.flags & O_EXCL) == 0) {
      const int other = ::open(path(known->second.name).c_str(), known->second.flags | O_CLOEXEC);
      if (other >= 0) {
        const long bound = result(::ioctl(other, command, argument));
        ::close(other);
        return bound;
      }
    }
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
  struct Opened {
    std::string name;
    int flags = 0;
  };
  const std::string directory_;
  const bool keep_old_;
  std::map<int, Opened> open_;
};

}  // namespace

std::unique_ptr<Port> path_port(const std::string& dev_directory, bool keep_old) {
  return std::make_unique<PathPort>(dev_directory, keep_old);
}

}  // namespace parity
