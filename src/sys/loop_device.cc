#include "sys/loop_device.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>
#include <sstream>
#include <vector>

#include "base/number.h"
#include "sys/directory.h"
#include "sys/mount_api.h"
#include "sys/uapi.h"

namespace loopfs::sys {
namespace {

constexpr uint64_t kSector = 512;

// The kernel's own device nodes. /dev may be something else, as in a container.
int device_directory() {
  static const Fd directory = [] {
    auto mount = mount_virtual("devtmpfs", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    return mount ? std::move(*mount) : Fd(::open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }();
  return directory.get();
}

std::optional<std::string> read_line(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  const ssize_t length = file.valid() ? ::read(file.get(), buffer, sizeof buffer) : -1;
  if (length < 0) return std::nullopt;
  std::string text(buffer, static_cast<size_t>(length));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

uint64_t number_at(const std::string& path) {
  return base::parse_number<uint64_t>(read_line(path).value_or("")).value_or(0);
}

std::string directory_of(uint32_t number) {
  return fmt::format("/sys/block/loop{}", number);
}

std::string uevent_value(const std::string& uevent, const std::string& key) {
  const size_t at = ('\n' + uevent).find('\n' + key + '=');
  if (at == std::string::npos) return {};
  const size_t start = at + key.size() + 1;
  return uevent.substr(start, uevent.find('\n', start) - start);
}

}  // namespace

Result<Fd> open_loop_control() {
  Fd control(::openat(device_directory(), "loop-control", O_RDWR | O_CLOEXEC));
  if (!control.valid()) return errno_fail("open '/dev/loop-control'");
  return control;
}

Result<void> add_loop_device(int control, uint32_t number) {
  if (::ioctl(control, LOOP_CTL_ADD, static_cast<long>(number)) < 0)
    return errno_fail("LOOP_CTL_ADD {}", number);
  return {};
}

Result<void> remove_loop_device(int control, uint32_t number) {
  if (::ioctl(control, LOOP_CTL_REMOVE, static_cast<long>(number)) < 0) {
    return errno_fail("LOOP_CTL_REMOVE {}", number);
  }
  return {};
}

Result<uint32_t> free_loop_device(int control) {
  const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
  if (number < 0) return errno_fail("LOOP_CTL_GET_FREE");
  return static_cast<uint32_t>(number);
}

Result<Fd> open_loop_device(uint32_t number, uint32_t partition, int flags) {
  std::string name = fmt::format("loop{}", number);
  if (partition != 0) name += fmt::format("p{}", partition);
  Fd device(::openat(device_directory(), name.c_str(), flags | O_CLOEXEC));
  if (!device.valid()) return errno_fail("open '{}'", name);
  return device;
}

Result<void> configure_loop_device(int device, const loop_config& config) {
  if (::ioctl(device, LOOP_CONFIGURE, &config) < 0) return errno_fail("LOOP_CONFIGURE");
  return {};
}

Result<void> clear_loop_device(int device) {
  if (::ioctl(device, LOOP_CLR_FD) < 0) return errno_fail("LOOP_CLR_FD");
  return {};
}

Result<uint64_t> disk_sequence(int device) {
  uint64_t sequence = 0;
  if (::ioctl(device, BLKGETDISKSEQ, &sequence) < 0) return errno_fail("BLKGETDISKSEQ");
  return sequence;
}

Result<uint64_t> size_of_block_device(int device) {
  uint64_t size = 0;
  if (::ioctl(device, BLKGETSIZE64, &size) < 0) return errno_fail("BLKGETSIZE64");
  return size;
}

Result<loop_info64> loop_status(int device) {
  loop_info64 info{};
  if (::ioctl(device, LOOP_GET_STATUS64, &info) < 0) return errno_fail("LOOP_GET_STATUS64");
  return info;
}

Result<void> set_direct_io(int device, bool on) {
  if (::ioctl(device, LOOP_SET_DIRECT_IO, static_cast<unsigned long>(on)) < 0) {
    return errno_fail("LOOP_SET_DIRECT_IO");
  }
  return {};
}

Result<void> reread_partitions(int device) {
  if (::ioctl(device, BLKRRPART) < 0) return errno_fail("BLKRRPART");
  return {};
}

Result<void> edit_partition(int device, const PartitionEdit& edit) {
  blkpg_partition partition{};
  partition.pno = edit.number;
  partition.start = edit.start;
  partition.length = edit.length;
  blkpg_ioctl_arg argument{.op = edit.operation, .flags = 0, .datalen = sizeof partition, .data = &partition};
  if (::ioctl(device, BLKPG, &argument) < 0) return errno_fail("BLKPG");
  return {};
}

IoStatistics loop_statistics(uint32_t number, uint32_t partition) {
  std::string path = directory_of(number);
  if (partition != 0) path += fmt::format("/loop{}p{}", number, partition);
  std::istringstream line(read_line(path + "/stat").value_or(""));
  IoStatistics statistics{};
  for (uint64_t& counter : statistics) line >> counter;
  return statistics;
}

std::string loop_backing_file(uint32_t number) {
  const std::string path = directory_of(number) + "/loop/backing_file";
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  const ssize_t length = file.valid() ? ::read(file.get(), buffer, sizeof buffer) : -1;
  // A newline of the kernel's; the name may have others.
  return length > 0 ? std::string(buffer, static_cast<size_t>(length) - 1) : std::string();
}

std::optional<LoopFacts> loop_facts(uint32_t number) {
  const std::string directory = directory_of(number);
  const auto autoclear = read_line(directory + "/loop/autoclear");
  if (!autoclear) return std::nullopt;
  const std::string queue = directory + "/queue/";
  return LoopFacts{
      .autoclear = *autoclear == "1",
      .partscan = number_at(directory + "/loop/partscan") != 0,
      .direct_io = number_at(directory + "/loop/dio") != 0,
      .read_only = number_at(directory + "/ro") != 0,
      .offset = number_at(directory + "/loop/offset"),
      .sizelimit = number_at(directory + "/loop/sizelimit"),
      .size = number_at(directory + "/size") * kSector,
      .logical_block_size = static_cast<uint32_t>(number_at(queue + "logical_block_size")),
      .physical_block_size = static_cast<uint32_t>(number_at(queue + "physical_block_size")),
      .io_minimum = static_cast<uint32_t>(number_at(queue + "minimum_io_size")),
      .io_optimal = static_cast<uint32_t>(number_at(queue + "optimal_io_size")),
      .discard_granularity = number_at(queue + "discard_granularity"),
      .read_ahead = number_at(queue + "read_ahead_kb") * 1024,
      .rotational = number_at(queue + "rotational") != 0,
      .disk_sequence = number_at(directory + "/diskseq"),
  };
}

std::vector<uint32_t> loop_partition_numbers(uint32_t number) {
  return numbers_in(directory_of(number), fmt::format("loop{}p", number));
}

std::map<uint32_t, LoopPartition> loop_partitions(uint32_t number) {
  std::map<uint32_t, LoopPartition> partitions;
  for (const uint32_t partition : loop_partition_numbers(number)) {
    const std::string directory = fmt::format("{0}/loop{1}p{2}", directory_of(number), number, partition);
    const auto uevent = read_line(directory + "/uevent");
    if (!uevent) continue;
    const auto part = [&](const char* key) {
      return base::parse_number<uint32_t>(uevent_value(*uevent, key)).value_or(0);
    };
    partitions[partition] = {.device = makedev(part("MAJOR"), part("MINOR")),
                             .start = number_at(directory + "/start") * kSector,
                             .size = number_at(directory + "/size") * kSector,
                             .uuid = uevent_value(*uevent, "PARTUUID"),
                             .label = uevent_value(*uevent, "PARTNAME"),
                             .read_only = number_at(directory + "/ro") != 0};
  }
  return partitions;
}

std::optional<dev_t> loop_partition_device(uint32_t number, uint32_t partition) {
  const auto uevent =
      read_line(fmt::format("{0}/loop{1}p{2}/uevent", directory_of(number), number, partition));
  if (!uevent) return std::nullopt;
  const auto major_number = base::parse_number<uint32_t>(uevent_value(*uevent, "MAJOR"));
  const auto minor_number = base::parse_number<uint32_t>(uevent_value(*uevent, "MINOR"));
  if (!major_number || !minor_number) return std::nullopt;
  return makedev(*major_number, *minor_number);
}

std::optional<LoopName> loop_device_of(dev_t device) {
  const auto uevent = read_line(fmt::format("/sys/dev/block/{}:{}/uevent", major(device), minor(device)));
  if (!uevent) return std::nullopt;
  return parse_loop_name(uevent_value(*uevent, "DEVNAME"));
}

std::optional<LoopName> parse_loop_name(std::string_view name) {
  if (!name.starts_with("loop")) return std::nullopt;
  name.remove_prefix(std::strlen("loop"));
  const size_t middle = std::min(name.find('p'), name.size());
  const auto number = base::parse_number<uint32_t>(name.substr(0, middle));
  if (!number || middle == name.size()) return number ? std::optional(LoopName{*number, 0}) : std::nullopt;
  const auto partition = base::parse_number<uint32_t>(name.substr(middle + 1));
  return partition ? std::optional(LoopName{*number, *partition}) : std::nullopt;
}

std::vector<uint32_t> loop_devices_from(uint32_t first) {
  auto numbers = numbers_in("/sys/block", "loop");
  std::erase_if(numbers, [first](uint32_t number) { return number < first; });
  return numbers;
}

Result<LoopBinding> LoopBinding::watch(uint32_t number) {
  const std::string path = directory_of(number) + "/loop/autoclear";
  Fd attribute(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!attribute.valid()) return errno_fail("open '{}'", path);
  return LoopBinding(std::move(attribute));
}

std::optional<bool> LoopBinding::autoclear() const {
  char value = 0;
  if (::pread(attribute_.get(), &value, 1, 0) != 1) return std::nullopt;
  return value == '1';
}

}  // namespace loopfs::sys
