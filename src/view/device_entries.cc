#include "view/device_entries.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/sysmacros.h>

namespace loopfs::view {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kMostZeroBytes = 4294966784;  // UINT_MAX sectors' worth of bytes, rounded down to sectors

std::string number(uint64_t value) {
  return fmt::format("{}\n", value);
}

std::string device_number(dev_t device) {
  return fmt::format("{}:{}\n", major(device), minor(device));
}

std::string uevent(dev_t device, const std::string& name, const char* type, uint64_t sequence) {
  return fmt::format("MAJOR={}\nMINOR={}\nDEVNAME={}\nDEVTYPE={}\nDISKSEQ={}\n", major(device), minor(device),
                     name, type, sequence);
}

std::string counters(const sys::IoStatistics& statistics) {
  return fmt::format("{:>8}\n", fmt::join(statistics, " "));
}

void add_queue(const engine::DeviceState& device, Entries& entries) {
  const uint64_t zero_bytes = device.discard_granularity != 0 ? kMostZeroBytes : 0;
  const std::pair<const char*, std::string> files[] = {
      {"add_random", "0\n"},
      {"atomic_write_boundary_bytes", "0\n"},
      {"atomic_write_max_bytes", "0\n"},
      {"atomic_write_unit_max_bytes", "0\n"},
      {"atomic_write_unit_min_bytes", "0\n"},
      {"chunk_sectors", "0\n"},
      {"dax", "0\n"},
      {"discard_granularity", number(device.discard_granularity)},
      {"discard_max_bytes", number(zero_bytes)},
      {"discard_max_hw_bytes", number(zero_bytes)},
      {"discard_zeroes_data", "0\n"},
      {"dma_alignment", "511\n"},
      {"fua", "0\n"},
      {"hw_sector_size", number(device.logical_block_size)},
      {"io_poll", "0\n"},
      {"io_poll_delay", "-1\n"},
      {"iostats", "1\n"},
      {"iostats_passthrough", "0\n"},
      {"logical_block_size", number(device.logical_block_size)},
      {"max_discard_segments", "1\n"},
      {"max_hw_sectors_kb", "1280\n"},
      {"max_integrity_segments", "0\n"},
      {"max_sectors_kb", "1280\n"},
      {"max_segment_size", "65536\n"},
      {"max_segments", "128\n"},
      {"max_write_streams", "0\n"},
      {"minimum_io_size", number(device.io_minimum)},
      {"nomerges", "0\n"},
      {"nr_requests", "128\n"},
      {"nr_zones", "0\n"},
      {"optimal_io_size", number(device.io_optimal)},
      {"physical_block_size", number(device.physical_block_size)},
      {"read_ahead_kb", number(device.read_ahead / 1024)},
      {"rotational", number(device.rotational)},
      {"rq_affinity", "1\n"},
      {"scheduler", "[none] \n"},
      {"stable_writes", "0\n"},
      {"virt_boundary_mask", "0\n"},
      {"wbt_lat_usec", "0\n"},
      {"write_cache", "write back\n"},
      {"write_same_max_bytes", "0\n"},
      {"write_stream_granularity", "0\n"},
      {"write_zeroes_max_bytes", number(zero_bytes)},
      {"write_zeroes_unmap_max_bytes", "0\n"},
      {"write_zeroes_unmap_max_hw_bytes", "0\n"},
      {"zone_append_max_bytes", "0\n"},
      {"zone_write_granularity", "0\n"},
      {"zoned", "none\n"},
  };
  entries["queue"] = Entry::directory();
  for (const auto& [name, text] : files) entries[fmt::format("queue/{}", name)] = Entry::file(text);
}

void add_loop(const engine::DeviceState& device, Entries& entries) {
  entries["loop"] = Entry::directory();
  entries["loop/autoclear"] = Entry::file(number(device.autoclear));
  entries["loop/backing_file"] = Entry::file(device.backing_file + "\n");
  entries["loop/dio"] = Entry::file(number(device.direct_io));
  entries["loop/offset"] = Entry::file(number(device.offset));
  entries["loop/partscan"] = Entry::file(number(device.partscan));
  entries["loop/sizelimit"] = Entry::file(number(device.sizelimit));
}

void add_partition(const engine::DeviceState& device, const engine::PartitionState& partition,
                   Entries& entries) {
  const std::string name = fmt::format("loop{}p{}", device.number, partition.number);
  const auto add = [&](const char* file, Entry entry) {
    entries[fmt::format("{}/{}", name, file)] = std::move(entry);
  };
  std::string event = uevent(partition.device, name, "partition", device.disk_sequence);
  event += fmt::format("PARTN={}\n", partition.number);
  if (!partition.label.empty()) event += fmt::format("PARTNAME={}\n", partition.label);
  if (!partition.uuid.empty()) event += fmt::format("PARTUUID={}\n", partition.uuid);
  entries[name] = Entry::directory();
  add("alignment_offset", Entry::file("0\n"));
  add("dev", Entry::file(device_number(partition.device)));
  add("discard_alignment", Entry::file("0\n"));
  add("holders", Entry::directory());
  add("inflight", Entry::file(fmt::format("{:>9}{:>9}\n", 0, 0)));
  add("partition", Entry::file(number(partition.number)));
  add("ro", Entry::file(number(partition.read_only)));
  add("size", Entry::file(number(partition.size / kSector)));
  add("start", Entry::file(number(partition.start / kSector)));
  add("stat", Entry::file(counters(partition.statistics)));
  add("subsystem", Entry::link("../../../../../class/block"));
  add("uevent", Entry::file(event));
}

}  // namespace

Entries device_entries(const engine::DeviceState& device) {
  Entries entries;
  entries["alignment_offset"] = Entry::file("0\n");
  entries["capability"] = Entry::file("0\n");
  entries["dev"] = Entry::file(device_number(device.device));
  entries["discard_alignment"] = Entry::file("0\n");
  entries["diskseq"] = Entry::file(number(device.disk_sequence));
  entries["events"] = Entry::file("media_change\n");
  entries["events_async"] = Entry::file("");
  entries["events_poll_msecs"] = Entry::file("-1\n");
  entries["ext_range"] = Entry::file("256\n");
  entries["hidden"] = Entry::file("0\n");
  entries["holders"] = Entry::directory();
  entries["inflight"] = Entry::file(fmt::format("{:>9}{:>9}\n", 0, 0));
  entries["partscan"] = Entry::file(number(device.partscan));
  entries["range"] = Entry::file("1\n");
  entries["removable"] = Entry::file("0\n");
  entries["ro"] = Entry::file(number(device.read_only));
  entries["size"] = Entry::file(number(device.size / kSector));
  entries["slaves"] = Entry::directory();
  entries["stat"] = Entry::file(counters(device.statistics));
  entries["subsystem"] = Entry::link("../../../../class/block");
  entries["uevent"] =
      Entry::file(uevent(device.device, fmt::format("loop{}", device.number), "disk", device.disk_sequence));
  add_queue(device, entries);
  if (device.bound) add_loop(device, entries);
  for (const auto& partition : device.partitions) add_partition(device, partition, entries);
  return entries;
}

std::string partition_lines(const engine::DeviceState& device) {
  if (device.size == 0) return {};
  const auto line = [](dev_t number, uint64_t bytes, const std::string& name) {
    return fmt::format("{:4}  {:7} {:10} {}\n", major(number), minor(number), bytes / 1024, name);
  };
  std::string lines = line(device.device, device.size, fmt::format("loop{}", device.number));
  for (const auto& partition : device.partitions) {
    lines +=
        line(partition.device, partition.size, fmt::format("loop{}p{}", device.number, partition.number));
  }
  return lines;
}

}  // namespace loopfs::view
