#include "policy/config.h"

#include <grp.h>
#include <pwd.h>
#include <sys/un.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <limits>

#include "base/printable.h"

namespace loopfs::policy {
namespace {

constexpr uint64_t kMostDevices = 1U << 20U;  // per user: the kernel's minor numbers
constexpr uint64_t kMostInstances = 1U << 16U;
constexpr uint64_t kMostDevicesPerInstance = 4096;  // as loopfs run --max
constexpr uint64_t kMostRequests = 4096;
constexpr uint64_t kMostSeconds = 86400;
constexpr uint64_t kMostId = std::numeric_limits<uid_t>::max() - 1;  // (uid_t)-1 is nobody

// A value for a message of one line.
std::string quoted(std::string_view text) {
  constexpr size_t kMostShown = 60;
  return '"' + base::to_printable(text.substr(0, kMostShown)) + (text.size() > kMostShown ? "...\"" : "\"");
}

std::string shown(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return quoted(*text);
  if (const auto number = node.value_exact<int64_t>()) return fmt::format("{}", *number);
  if (const auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  return node.is_floating_point() ? "a fraction" : "a date or time";
}

bool is_socket_path(const std::string& path) {
  return path.size() > 1 && path.front() == '/' && path.size() < sizeof(sockaddr_un::sun_path) &&
         path.find('\0') == std::string::npos;
}

bool is_path_or_empty(const std::string& path) {
  return path.empty() || (path.size() > 1 && path.front() == '/' && path.find('\0') == std::string::npos);
}

bool is_log_level(const std::string& level) {
  static constexpr std::string_view kLevels[] = {"trace", "debug",    "info", "warning",
                                                 "error", "critical", "off"};
  return std::find(std::begin(kLevels), std::end(kLevels), level) != std::end(kLevels);
}

bool is_filesystem(const std::string& type) {
  return !type.empty() && std::all_of(type.begin(), type.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
}

std::optional<MountPolicy> mount_policy_of(const std::string& word) {
  if (word == "fuse") return MountPolicy::kFuse;
  if (word == "kernel") return MountPolicy::kKernel;
  if (word == "deny") return MountPolicy::kDeny;
  return std::nullopt;
}

// `call`: getpwnam_r or getgrnam_r with its name; the entry stays valid as long as `buffer`. Empty: there is
// none.
template <typename Entry, typename Call>
Result<std::optional<Entry>> look_up(Call call, const std::string& name, std::vector<char>& buffer) {
  constexpr size_t kMostBytes = 1U << 24U;  // a group has a line for all its members
  Entry entry{};
  Entry* found = nullptr;
  int code = ERANGE;
  for (buffer.resize(4096); code == ERANGE && buffer.size() <= kMostBytes; buffer.resize(buffer.size() * 2)) {
    code = call(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  }
  if (found != nullptr) return std::optional<Entry>(entry);
  // getpwnam(3): these are what systems return for a name that is not there.
  if (code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM)
    return std::optional<Entry>();
  return fail(code, "look {} up", quoted(name));
}

// Takes the keys of one table, keeps the first mistake, and knows which keys nobody asked for.
class Section {
 public:
  Section(const toml::table& table, std::string file, std::string title)
      : table_(table), file_(std::move(file)), title_(std::move(title)) {}

  bool has(std::string_view key) const { return table_.contains(key); }

  // The text, if it is there and `good`.
  template <typename Predicate>
  std::optional<std::string> text(const char* key, const char* wanted, Predicate good) {
    const toml::node* node = take(key);
    if (node == nullptr) return std::nullopt;
    auto value = node->value_exact<std::string>();
    if (value && good(*value)) return value;
    wrong(key, *node, wanted);
    return std::nullopt;
  }

  std::optional<uint64_t> number(const char* key, uint64_t least, uint64_t most) {
    const toml::node* node = take(key);
    if (node == nullptr) return std::nullopt;
    const auto value = node->value_exact<int64_t>();
    if (value && *value >= 0) {
      const auto number = static_cast<uint64_t>(*value);
      if (number >= least && number <= most) return number;
    }
    wrong(key, *node, fmt::format("a number from {} to {}", least, most));
    return std::nullopt;
  }

  std::optional<bool> flag(const char* key) {
    const toml::node* node = take(key);
    if (node == nullptr) return std::nullopt;
    const auto value = node->value_exact<bool>();
    if (!value) wrong(key, *node, "true or false");
    return value;
  }

  std::optional<std::vector<std::string>> filesystems(const char* key) {
    static constexpr const char* kWanted = "a list of file systems such as [\"ext4\", \"xfs\"]";
    const toml::node* node = take(key);
    if (node == nullptr) return std::nullopt;
    const toml::array* list = node->as_array();
    if (list == nullptr) {
      wrong(key, *node, kWanted);
      return std::nullopt;
    }
    std::vector<std::string> types;
    for (const auto& element : *list) {
      auto type = element.value_exact<std::string>();
      if (!type || !is_filesystem(*type)) {
        wrong(key, element, kWanted);
        return std::nullopt;
      }
      types.push_back(std::move(*type));
    }
    return types;
  }

  std::optional<MountPolicy> mount_policy(const char* key) {
    const auto word = text(key, "\"fuse\", \"kernel\" or \"deny\"",
                           [](const std::string& text) { return mount_policy_of(text).has_value(); });
    return word ? mount_policy_of(*word) : std::nullopt;
  }

  // A mistake of the value of `key`, or of the whole table if there is none of that name.
  void mistake(std::string_view key, const std::string& text) {
    const toml::node* node = table_.get(key);
    keep(node != nullptr ? node->source() : table_.source(), fmt::format("{}: {}", key, text));
  }

  Result<void> finish() {
    for (const auto& [key, value] : table_) {
      if (std::find(taken_.begin(), taken_.end(), key.str()) != taken_.end()) continue;
      keep(key.source(), fmt::format("{}: unknown key", quoted(key.str())));
    }
    if (mistake_) return tl::unexpected<Error>(*mistake_);
    return {};
  }

 private:
  const toml::node* take(const char* key) {
    taken_.emplace_back(key);
    return table_.get(key);
  }

  void wrong(const char* key, const toml::node& node, std::string_view wanted) {
    keep(node.source(), fmt::format("{}: {} is wanted, not {}", key, wanted, shown(node)));
  }

  void keep(const toml::source_region& place, const std::string& text) {
    if (mistake_) return;
    mistake_ = Error{EINVAL, fmt::format("{}:{}: {} {}", file_, place.begin.line, title_, text)};
  }

  const toml::table& table_;
  const std::string file_;
  const std::string title_;  // "[limits]"
  std::vector<std::string_view> taken_;
  std::optional<Error> mistake_;
};

template <typename T, typename U>
void set(T& value, std::optional<U> given) {
  if (given) value = std::move(*given);
}

}  // namespace

// Fills one Config from a document.
class ConfigReader {
 public:
  ConfigReader(const toml::table& document, const std::string& file) : document_(document), file_(file) {}

  Result<Config> read() {
    using Read = Result<void> (ConfigReader::*)(Section&);
    static constexpr std::pair<const char*, Read> kTables[] = {{"daemon", &ConfigReader::daemon},
                                                               {"limits", &ConfigReader::limits},
                                                               {"mount", &ConfigReader::mount}};
    if (auto known = check_names(); !known) return propagate(known);
    for (const auto& [name, read] : kTables) {
      const toml::node* node = document_.get(name);
      if (node == nullptr) continue;
      if (!node->is_table()) return misshapen(*node, name, fmt::format("[{}]", name));
      Section section(*node->as_table(), file_, fmt::format("[{}]", name));
      if (auto done = (this->*read)(section); !done) return propagate(done);
    }
    if (auto done = users(); !done) return propagate(done);
    return std::move(config_);
  }

 private:
  // Other readers' tables are not ours to refuse: [[program]] is that of `loopfs run`.
  Result<void> check_names() {
    static constexpr std::string_view kKnown[] = {"daemon", "limits", "mount", "user", "program"};
    for (const auto& [key, value] : document_) {
      if (std::find(std::begin(kKnown), std::end(kKnown), key.str()) != std::end(kKnown)) continue;
      const auto place = fmt::format("{}:{}", file_, key.source().begin.line);
      if (!value.is_table() && !value.is_array_of_tables()) {
        return fail(EINVAL, "{}: {}: unknown key outside of all tables", place, quoted(key.str()));
      }
      config_.warnings_.push_back(
          fmt::format("{}: the table {} is unknown: ignored", place, quoted(key.str())));
    }
    return {};
  }

  tl::unexpected<Error> misshapen(const toml::node& node, const char* name, const std::string& right) {
    return fail(EINVAL, "{}:{}: '{}' must be written as {}", file_, node.source().begin.line, name, right);
  }

  Result<void> daemon(Section& section) {
    DaemonOptions& options = config_.daemon_;
    set(options.socket, section.text("socket", "an absolute path of at most 107 bytes", is_socket_path));
    set(options.log_level,
        section.text("log_level",
                     "\"trace\", \"debug\", \"info\", \"warning\", \"error\", \"critical\" or \"off\"",
                     is_log_level));
    set(options.metrics, section.text("metrics", "an absolute path or nothing (\"\")", is_path_or_empty));
    set(options.metrics_interval, section.number("metrics_interval", 1, kMostSeconds));
    return section.finish();
  }

  Result<void> limits(Section& section) {
    DefaultLimits& limits = config_.limits_;
    set(limits.devices_per_user, section.number("devices_per_user", 0, kMostDevices));
    set(limits.instances_per_user, section.number("instances_per_user", 0, kMostInstances));
    set(limits.devices_per_instance, section.number("devices_per_instance", 1, kMostDevicesPerInstance));
    set(limits.connections_per_user, section.number("connections_per_user", 1, kMostRequests));
    set(limits.requests_per_instance, section.number("requests_per_instance", 1, kMostRequests));
    return section.finish();
  }

  Result<void> mount(Section& section) {
    set(config_.mount_, section.mount_policy("default"));
    set(config_.filesystems_, section.filesystems("kernel_filesystems"));
    return section.finish();
  }

  Result<void> users() {
    const toml::node* node = document_.get("user");
    if (node == nullptr) return {};
    if (!node->is_array_of_tables()) return misshapen(*node, "user", "[[user]]");
    for (const auto& element : *node->as_array()) {
      Section section(*element.as_table(), file_, "[[user]]");
      if (auto done = user(section); !done) return done;
    }
    return {};
  }

  Result<void> user(Section& section) {
    Config::UserRule rule;
    match(section, rule);
    rule.allow = section.flag("allow");
    rule.mount = section.mount_policy("mount");
    rule.filesystems = section.filesystems("kernel_filesystems");
    rule.devices = section.number("devices", 0, kMostDevices);
    rule.instances = section.number("instances", 0, kMostInstances);
    if (auto done = section.finish(); !done) return done;
    config_.users_.push_back(std::move(rule));
    return {};
  }

  // Whom the rule is for. A name that cannot be resolved is a mistake: a rule that forbids must not vanish.
  static void match(Section& section, Config::UserRule& rule) {
    const int ways = int{section.has("name")} + int{section.has("uid")} + int{section.has("group")} +
                     int{section.has("any")};
    if (ways != 1) section.mistake("name, uid, group, any", "one of these is wanted, and no more than one");
    const auto not_empty = [](const std::string& text) {
      return !text.empty() && text.find('\0') == std::string::npos;
    };
    std::vector<char> buffer;
    if (const auto name = section.text("name", "the name of a user", not_empty)) {
      const auto found = look_up<passwd>(::getpwnam_r, *name, buffer);
      if (!found)
        section.mistake("name", found.error().message());
      else if (!*found)
        section.mistake("name", fmt::format("there is no user {}", quoted(*name)));
      else
        rule.uid = (*found)->pw_uid;
    }
    if (const auto name = section.text("group", "the name of a group", not_empty)) {
      const auto found = look_up<group>(::getgrnam_r, *name, buffer);
      if (!found)
        section.mistake("group", found.error().message());
      else if (!*found)
        section.mistake("group", fmt::format("there is no group {}", quoted(*name)));
      else
        rule.gid = (*found)->gr_gid;
    }
    if (const auto uid = section.number("uid", 0, kMostId)) rule.uid = static_cast<uid_t>(*uid);
    if (const auto any = section.flag("any"); any && !*any)
      section.mistake("any", "true is wanted, not false");
  }

  const toml::table& document_;
  const std::string& file_;
  Config config_;
};

Result<Config> Config::parse(std::string_view text, const std::string& name) {
  toml::table document;
  try {
    document = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    // It has the character that was met, which may be a line's end.
    return fail(EINVAL, "{}:{}: {}", name, error.source().begin.line,
                base::to_printable(error.description()));
  }
  return ConfigReader(document, name).read();
}

Result<Config> Config::load(const std::string& file) {
  const std::string path = file.empty() ? kConfigFile : file;
  std::ifstream stream(path);
  if (!stream && file.empty() && (errno == ENOENT || errno == ENOTDIR)) return Config();
  if (!stream) return errno_fail("configuration: open '{}'", path);
  std::string text;
  std::array<char, 4096> part{};
  while (stream.read(part.data(), part.size()), stream.gcount() > 0) {
    text.append(part.data(), static_cast<size_t>(stream.gcount()));
  }
  // A folder can be opened but not read: that must not pass for a file without rules.
  if (stream.bad()) return fail(EIO, "configuration: read '{}'", path);
  return parse(text, path);
}

Rules Config::rules_for(uid_t uid, std::span<const gid_t> gids) const {
  Rules rules{.mount = mount_,
              .filesystems = filesystems_,
              .devices = limits_.devices_per_user,
              .instances = limits_.instances_per_user};
  const auto matches = [&](const UserRule& rule) {
    if (rule.uid) return *rule.uid == uid;
    if (rule.gid) return std::find(gids.begin(), gids.end(), *rule.gid) != gids.end();
    return true;
  };
  const auto rule = std::find_if(users_.begin(), users_.end(), matches);
  if (rule == users_.end()) return rules;
  set(rules.allow, rule->allow);
  set(rules.mount, rule->mount);
  set(rules.filesystems, rule->filesystems);
  set(rules.devices, rule->devices);
  set(rules.instances, rule->instances);
  return rules;
}

}  // namespace loopfs::policy
