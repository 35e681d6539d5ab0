#include "cli/attach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "base/number.h"
#include "sys/loop_device.h"

namespace loopfs::cli {
namespace {

constexpr int kTries = 64;  // others take the device that we were told is free
constexpr int kMostMilliseconds = 20;

int report(const char* command, const Error& error) {
  fmt::print(stderr, "loopfs: {} {}\n", command, error.message());
  return 1;
}

std::string node_in(const std::string& directory, const std::string& name) {
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

struct Backing {
  Fd file;
  bool read_only = false;
};

// As losetup: what cannot be written is bound read-only.
Result<Backing> open_backing(const AttachOptions& options) {
  const char* path = options.file.c_str();
  Backing backing{Fd(), options.read_only};
  if (!backing.read_only) {
    backing.file = Fd(::open(path, O_RDWR | O_CLOEXEC));
    backing.read_only = !backing.file.valid() && (errno == EROFS || errno == EACCES);
  }
  if (backing.read_only) backing.file = Fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!backing.file.valid()) return errno_fail("open");
  return backing;
}

loop_config config_of(const AttachOptions& options, const Backing& backing) {
  loop_config config{};
  config.fd = static_cast<uint32_t>(backing.file.get());
  config.block_size = options.block_size;
  config.info.lo_offset = options.offset;
  config.info.lo_sizelimit = options.sizelimit;
  if (backing.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  if (options.partscan) config.info.lo_flags |= LO_FLAGS_PARTSCAN;
  std::error_code error;
  const std::string path = std::filesystem::canonical(options.file, error);
  std::memcpy(config.info.lo_file_name, path.data(), std::min<size_t>(path.size(), LO_NAME_SIZE - 1));
  return config;
}

// Written to, where it can be: LOOP_SET_DIRECT_IO wants that also of one that is bound read-only.
Fd open_node(const std::string& path) {
  Fd node(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (node.valid() || (errno != EROFS && errno != EACCES)) return node;
  return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// EBUSY, ENXIO or ENOENT: somebody else was faster.
Result<void> bind_device(const std::string& path, const AttachOptions& options, const Backing& backing) {
  const Fd device = open_node(path);
  if (!device.valid()) return errno_fail("open '{}'", path);
  auto bound = sys::configure_loop_device(device.get(), config_of(options, backing));
  if (!bound) return propagate(bound, "'{}'", path);
  if (!options.direct_io) return {};
  // As losetup does: with LO_FLAGS_DIRECT_IO the kernel drops the wish without a word where it cannot be.
  auto set = sys::set_direct_io(device.get(), *options.direct_io);
  if (!set) (void)sys::clear_loop_device(device.get());
  return set;
}

void wait_a_moment() {
  static std::minstd_rand random(std::random_device{}());
  ::poll(nullptr, 0, std::uniform_int_distribution(1, kMostMilliseconds)(random));
}

Result<std::string> attach_to_any(const AttachOptions& options) {
  auto backing = open_backing(options);
  if (!backing) return propagate(backing);
  const std::string control_path = node_in(options.instance, "loop-control");
  const Fd control(::open(control_path.c_str(), O_RDWR | O_CLOEXEC));
  if (!control.valid()) return errno_fail("open '{}'", control_path);
  for (int tries = 1;; ++tries) {
    const auto number = sys::free_loop_device(control.get());
    if (!number) return propagate(number, "'{}'", control_path);
    std::string path = node_in(options.instance, fmt::format("loop{}", *number));
    const auto bound = bind_device(path, options, *backing);
    if (bound) return path;
    const int code = bound.error().code;
    if ((code != EBUSY && code != ENXIO && code != ENOENT) || tries == kTries) return propagate(bound);
    wait_a_moment();
  }
}

Result<void> detach_device(const std::string& path) {
  const Fd device(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!device.valid()) return errno_fail("open");
  return sys::clear_loop_device(device.get());
}

std::vector<std::string> devices_in(const std::string& directory, std::error_code& error) {
  std::vector<uint32_t> numbers;
  for (auto entry = std::filesystem::directory_iterator(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (const auto number = number_of_device(entry->path().filename())) numbers.push_back(*number);
  }
  std::ranges::sort(numbers);
  std::vector<std::string> paths;
  for (const uint32_t number : numbers) paths.push_back(node_in(directory, fmt::format("loop{}", number)));
  return paths;
}

// All devices of the instance that have the file.
Result<void> detach_file(const std::string& directory, const struct stat& file) {
  std::error_code error;
  const auto paths = devices_in(directory, error);
  if (error) return fail(error.value(), "read '{}'", directory);
  bool found = false;
  for (const std::string& path : paths) {
    const Fd device(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto status =
        device.valid() ? sys::loop_status(device.get()) : Result<loop_info64>(fail(ENXIO, ""));
    if (!status || status->lo_device != file.st_dev || status->lo_inode != file.st_ino) continue;
    if (auto cleared = sys::clear_loop_device(device.get()); !cleared)
      return propagate(cleared, "'{}'", path);
    found = true;
  }
  if (!found) return fail(ENXIO, "no device in '{}' has this file", directory);
  return {};
}

Result<void> detach_any(const DetachOptions& options) {
  const std::string path = device_path(options);
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_fail("open");
  const std::string name = std::filesystem::path(path).filename();
  if (path != options.what || (S_ISBLK(status.st_mode) && number_of_device(name))) return detach_device(path);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
    return fail(EINVAL, "neither a loop device nor a file");
  return detach_file(options.instance, status);
}

}  // namespace

std::string default_instance() {
  constexpr const char* kUsual = "/dev/loopfs";
  struct statfs dev {};
  const bool whole_dev = ::statfs("/dev", &dev) == 0 && dev.f_type == FUSE_SUPER_MAGIC;
  return whole_dev && ::access(kUsual, F_OK) != 0 ? "/dev" : kUsual;
}

std::optional<uint32_t> number_of_device(const std::string& name) {
  constexpr std::string_view kPrefix = "loop";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const auto number = base::parse_number<uint32_t>(std::string_view(name).substr(kPrefix.size()));
  if (!number || name != fmt::format("loop{}", *number)) return std::nullopt;  // not loop007
  return number;
}

std::string device_path(const DetachOptions& options) {
  return number_of_device(options.what) ? node_in(options.instance, options.what) : options.what;
}

int attach(const AttachOptions& options) {
  const auto device = attach_to_any(options);
  if (!device) return report(fmt::format("attach '{}':", options.file).c_str(), device.error());
  fmt::print("{}\n", *device);
  return 0;
}

int detach(const DetachOptions& options) {
  const auto detached = detach_any(options);
  return detached ? 0 : report(fmt::format("detach '{}':", options.what).c_str(), detached.error());
}

}  // namespace loopfs::cli
