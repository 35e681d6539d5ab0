#include "cli/manager_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <iterator>

#include "base/printable.h"

namespace loopfs::cli {
namespace {

constexpr const char* kNothing = "-";
constexpr uint64_t kMicroseconds = 1'000'000;

// A field as it is shown: booleans as losetup has them.
std::string shown(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  if (found == object.end() || found->is_null()) return kNothing;
  if (found->is_boolean()) return found->get<bool>() ? "1" : "0";
  if (found->is_string()) {
    const auto& text = found->get_ref<const std::string&>();
    return text.empty() ? kNothing : base::to_printable(text);
  }
  return base::to_printable(json_text(*found));
}

const Json& list_in(const Json& object, const char* name) {
  static const Json kEmpty = Json::array();
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_array() ? *found : kEmpty;
}

uint64_t number_in(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_number_integer() ? found->get<uint64_t>() : 0;
}

bool has(const Json& object, const char* name) {
  return shown(object, name) != kNothing;
}

struct Column {
  const char* title;
  bool right = false;  // aligned
};
using Row = std::vector<std::string>;

// As wide as needed; the last column is not filled up.
std::string table(const std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::string text;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t width = std::string_view(columns[i].title).size();
    for (const Row& row : rows) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  const auto add = [&](const auto& cell) {
    std::string line;
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string_view value = cell(i);
      if (i > 0) line += ' ';
      if (columns[i].right)
        line += fmt::format("{:>{}}", value, widths[i]);
      else if (i + 1 < columns.size())
        line += fmt::format("{:<{}}", value, widths[i]);
      else
        line += value;
    }
    text += line + '\n';
  };
  add([&](size_t i) { return std::string_view(columns[i].title); });
  for (const Row& row : rows) add([&row](size_t i) { return std::string_view(row[i]); });
  return text;
}

std::string device_name(const Json& object, const char* name) {
  return has(object, name) ? "loop" + shown(object, name) : kNothing;
}

// "7:300000" of the kernel's number of a device.
std::string major_and_minor(const Json& object) {
  const uint64_t device = number_in(object, "device");
  return fmt::format("{}:{}", (device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
}

struct Field {
  const char* title;
  const char* name;
};

void add_fields(std::string& text, const Json& object, int indent, std::initializer_list<Field> fields) {
  for (const auto& [title, name] : fields) {
    text += fmt::format("{:{}}{}: {}\n", "", indent, title, shown(object, name));
  }
}

void add_partition(std::string& text, const Json& device, const Json& partition) {
  text += fmt::format("  partition {}p{} ({})\n", device_name(device, "number"), shown(partition, "number"),
                      major_and_minor(partition));
  add_fields(text, partition, 4,
             {{"start", "start"},
              {"size", "size"},
              {"uuid", "uuid"},
              {"label", "label"},
              {"read-only", "read_only"}});
}

void add_device(std::string& text, const Json& device) {
  if (!has(device, "kernel_device")) {
    text += fmt::format("{}: free\n", device_name(device, "number"));
    return;
  }
  text += fmt::format("{}:\n", device_name(device, "number"));
  text += fmt::format("  kernel device: {} ({})\n", shown(device, "kernel_device"), major_and_minor(device));
  add_fields(text, device, 2,
             {{"backing file", "backing_file"},
              {"size", "size"},
              {"offset", "offset"},
              {"size limit", "sizelimit"},
              {"read-only", "read_only"},
              {"autoclear", "autoclear"},
              {"partscan", "partscan"},
              {"direct I/O", "direct_io"},
              {"logical block size", "logical_block_size"},
              {"physical block size", "physical_block_size"},
              {"minimum I/O size", "io_minimum"},
              {"optimal I/O size", "io_optimal"},
              {"discard granularity", "discard_granularity"},
              {"read-ahead", "read_ahead"},
              {"rotational", "rotational"},
              {"disk sequence", "disk_sequence"}});
  for (const Json& partition : list_in(device, "partitions")) add_partition(text, device, partition);
}

std::string time_text(uint64_t microseconds) {
  const auto seconds = static_cast<std::time_t>(microseconds / kMicroseconds);
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return kNothing;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}", parts, microseconds % kMicroseconds);
}

}  // namespace

std::string instances_table(const std::vector<Json>& instances, bool all) {
  std::vector<Row> rows;
  for (const Json& instance : instances) {
    const Row whose{shown(instance, "id"), shown(instance, "owner")};
    const size_t before = rows.size();
    for (const Json& device : list_in(instance, "devices")) {
      const bool bound = has(device, "kernel_device");
      if (!bound && !all) continue;
      Row row = whose;
      row.push_back(device_name(device, "number"));
      for (const char* name :
           {"kernel_device", "size", "offset", "read_only", "autoclear", "direct_io", "backing_file"}) {
        row.push_back(bound ? shown(device, name) : kNothing);
      }
      rows.push_back(std::move(row));
    }
    if (rows.size() > before) continue;
    Row row = whose;
    row.resize(10, kNothing);
    rows.push_back(std::move(row));
  }
  return table({{"INSTANCE", true},
                {"OWNER", true},
                {"DEVICE"},
                {"KERNEL-DEVICE"},
                {"SIZE", true},
                {"OFFSET", true},
                {"RO", true},
                {"AUTOCLEAR", true},
                {"DIO", true},
                {"BACK-FILE"}},
               rows);
}

std::string instance_text(const Json& instance) {
  std::string text;
  add_fields(text, instance, 0,
             {{"instance", "id"},
              {"owner", "owner"},
              {"root uid", "root_uid"},
              {"user namespace", "user_namespace"},
              {"most devices", "max"}});
  const Json& devices = list_in(instance, "devices");
  const auto bound =
      std::ranges::count_if(devices, [](const Json& device) { return has(device, "kernel_device"); });
  text += fmt::format("devices: {}, with a file {}\n", devices.size(), bound);
  for (const Json& device : devices) add_device(text, device);
  return text;
}

std::string event_text(const Json& event) {
  const std::string time = time_text(number_in(event, "microseconds"));
  std::string text;
  if (const uint64_t lost = number_in(event, "lost"); lost > 0) {
    text = fmt::format("{} lost {} events\n", time, lost);
  }
  text += fmt::format("{} {} instance {}", time, shown(event, "what"), shown(event, "instance"));
  if (has(event, "device")) text += " " + device_name(event, "device");
  if (has(event, "kernel_device")) text += " " + shown(event, "kernel_device");
  return text;
}

std::string limits_table(const Json& limits) {
  std::vector<Row> rows;
  for (const char* kind : {"devices", "instances"}) {
    for (const Json& entry : list_in(limits, kind)) {
      rows.push_back({kind, shown(entry, "user_namespace"), shown(entry, "uid"), shown(entry, "used"),
                      has(entry, "limit") ? shown(entry, "limit") : "none"});
    }
  }
  return table({{"KIND"}, {"USER-NAMESPACE", true}, {"UID", true}, {"USED", true}, {"LIMIT", true}}, rows);
}

std::string json_text(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

}  // namespace loopfs::cli
