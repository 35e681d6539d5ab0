#include "mount_helper/options.h"

#include <sys/mount.h>

#include <string_view>
#include <utility>

#include "base/number.h"

namespace loopfs::mount_helper {
namespace {

// Options of mount(8) and fstab(5) that are not for the file system, or what we do anyway.
constexpr std::string_view kIgnored[] = {"rw",      "defaults", "auto",     "noauto", "nofail", "nosuid",
                                         "noexec",  "user",     "nouser",   "users",  "owner",  "group",
                                         "_netdev", "dev",      "relatime", "suid",   "exec",   "async",
                                         "atime",   "diratime", "silent"};

constexpr std::pair<std::string_view, uint64_t> kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY},
    {"nodev", MOUNT_ATTR_NODEV},
    {"noatime", MOUNT_ATTR_NOATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME},
};

template <typename Range>
bool contains(const Range& range, std::string_view word) {
  for (const auto& entry : range) {
    if (entry == word) return true;
  }
  return false;
}

Result<uint32_t> to_number(std::string_view option, std::string_view text, int number_base) {
  const auto value = base::parse_number<uint32_t>(text, number_base);
  if (!value) return fail(EINVAL, "option {}={}: a number is wanted", option, text);
  return *value;
}

Result<void> set_value(Options& options, std::string_view key, std::string_view value) {
  struct Number {
    std::string_view key;
    std::optional<uint32_t>& target;
    int base;
  };
  const Number numbers[] = {{"max", options.max, 10},
                            {"uid", options.uid, 10},
                            {"gid", options.gid, 10},
                            {"mode", options.mode, 8}};
  for (const Number& number : numbers) {
    if (key != number.key) continue;
    auto parsed = to_number(key, value, number.base);
    if (!parsed) return propagate(parsed);
    number.target = *parsed;
    return {};
  }
  if (key == "socket") {
    options.socket = value;
    return {};
  }
  if (key == "engine") {
    if (value == "kernel") return {};
    return fail(EINVAL, "option engine={}: an instance of loopfsd has the engine \"kernel\"", value);
  }
  if (options.sloppy || key.starts_with("x-") || key.starts_with("X-") || key == "comment") return {};
  return fail(EINVAL, "unknown option {}={}: known are max, uid, gid, mode, engine, socket", key, value);
}

Result<void> set_option(Options& options, std::string_view word) {
  if (word.empty() || contains(kIgnored, word)) return {};
  for (const auto& [name, attribute] : kAttributes) {
    if (word != name) continue;
    options.attributes |= attribute;
    return {};
  }
  const size_t equals = word.find('=');
  if (equals != std::string_view::npos)
    return set_value(options, word.substr(0, equals), word.substr(equals + 1));
  if (options.sloppy || word.starts_with("x-") || word.starts_with("X-")) return {};
  return fail(EINVAL, "unknown option {}: known are max, uid, gid, mode, engine, socket", word);
}

Result<void> set_options(Options& options, std::string_view list) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (auto set = set_option(options, list.substr(0, comma)); !set) return set;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return {};
}

}  // namespace

Result<Options> parse(const std::vector<std::string>& words) {
  Options options;
  std::vector<std::string> places, lists;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--help" || word == "-h")
      options.help = true;
    else if (word == "--version" || word == "-V")
      options.version = true;
    else if (word.size() < 2 || word[0] != '-')
      places.push_back(word);
    else if (word == "-o" || word == "-t" || word == "-N") {
      if (++i == words.size()) return fail(EINVAL, "{} needs an argument", word);
      if (word == "-o") lists.push_back(words[i]);
      if (word == "-N") return fail(EINVAL, "-N: run mount inside the namespace instead");
    } else {
      for (const char flag : std::string_view(word).substr(1)) {
        if (flag == 's')
          options.sloppy = true;
        else if (flag == 'f')
          options.fake = true;
        else if (flag != 'n' && flag != 'v')
          return fail(EINVAL, "unknown option {}", word);
      }
    }
  }
  for (const std::string& list : lists) {
    if (auto set = set_options(options, list); !set) return propagate(set);
  }
  if (options.help || options.version) return options;
  if (places.size() != 2) return fail(EINVAL, "a source, which means nothing, and a directory are wanted");
  options.directory = places[1];
  return options;
}

}  // namespace loopfs::mount_helper
