#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "engine/fake_caller.h"
#include "engine/user_engine.h"
#include "port.h"

namespace parity {
namespace {

using loopfs::instance::NodeId;

// The engine in this process, with no mount in front of it. A memory file stands for each open node, so
// that it has a descriptor to hand around.
class EnginePort final : public Port {
 public:
  std::string path(const std::string&) const override { return {}; }
  bool mounted() const override { return false; }

  int open(const std::string& name, int flags) override {
    NodeId id = NodeId::control();
    const auto device = static_cast<uint32_t>(name[0] == 'a' ? kDeviceA : kDeviceB);
    if (name != "control") {
      id = name.size() > 1 ? NodeId::of_partition(device, static_cast<uint32_t>(std::stoul(name.substr(1))))
                           : NodeId::of_device(device);
    }
    if (!engine_->attributes(id)) return -ENOENT;
    auto opened = engine_->open(id, {.read = (flags & O_ACCMODE) != O_WRONLY,
                                     .write = (flags & O_ACCMODE) != O_RDONLY,
                                     .exclusive = (flags & O_EXCL) != 0,
                                     .direct = (flags & O_DIRECT) != 0});
    if (!opened) return -opened.error().code;
    const int memory = ::memfd_create("node", MFD_CLOEXEC);
    struct stat status;
    ::fstat(memory, &status);
    const int fd =
        ::open(("/proc/self/fd/" + std::to_string(memory)).c_str(), (flags & O_ACCMODE) | O_CLOEXEC);
    ::close(memory);
    caller_.nodes[status.st_ino] = id;
    open_[fd] = std::move(*opened);
    return fd;
  }
  long close(int fd) override {
    open_.at(fd)->descriptor_closing();
    open_.erase(fd);
    return ::close(fd);
  }
  long ioctl(int fd, unsigned long command, unsigned long argument) override {
    loopfs::engine::IoctlRequest request{.command = static_cast<unsigned>(command), .argument = argument};
    std::vector<std::byte> input(_IOC_SIZE(command));
    if ((_IOC_DIR(command) & _IOC_WRITE) && !caller_.read(argument, input)) return -EFAULT;
    request.input = input;
    auto answer = open_.at(fd)->ioctl(request, caller_);
    if (!answer) return -answer.error().code;
    if (!request.output.empty() && !caller_.write(argument, request.output)) return -EFAULT;
    return *answer;
  }
  long read(int fd, void* bytes, size_t size, off_t offset) override {
    if (offset < 0) return -EINVAL;
    return value(open_.at(fd)->read(static_cast<uint64_t>(offset), {static_cast<std::byte*>(bytes), size}));
  }
  long write(int fd, const void* bytes, size_t size, off_t offset) override {
    if (offset < 0) return -EINVAL;
    return value(
        open_.at(fd)->write(static_cast<uint64_t>(offset), {static_cast<const std::byte*>(bytes), size}));
  }
  long allocate(int fd, int mode, off_t offset, off_t length) override {
    if (offset < 0 || length <= 0) return -EINVAL;
    auto done = open_.at(fd)->allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
    return done ? 0 : -done.error().code;
  }
  long sync(int fd) override {
    auto done = open_.at(fd)->sync(false);
    return done ? 0 : -done.error().code;
  }

 private:
  static long value(const loopfs::Result<size_t>& result) {
    return result ? static_cast<long>(*result) : -result.error().code;
  }

  std::unique_ptr<loopfs::engine::UserEngine> engine_ = loopfs::engine::UserEngine::create({});
  loopfs::engine::FakeCaller caller_;
  std::map<int, std::unique_ptr<loopfs::engine::OpenNode>> open_;
};

}  // namespace

std::unique_ptr<Port> engine_port() {
  return std::make_unique<EnginePort>();
}

}  // namespace parity
