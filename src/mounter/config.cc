#include "mounter/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>

#include "base/printable.h"
#include "mounter/built_in.h"

namespace loopfs::mounter {
namespace {

constexpr const char* kSystemFile = "/etc/loopfs/loopfs.toml";

// Takes the value of `key` out of the entry; false if it is there and of another type.
bool take(const toml::table& entry, const char* key, std::string& value) {
  const toml::node* node = entry.get(key);
  if (node == nullptr) return true;
  const auto text = node->value_exact<std::string>();
  if (text) value = *text;
  return text.has_value();
}

bool take(const toml::table& entry, const char* key, bool& value) {
  const toml::node* node = entry.get(key);
  if (node == nullptr) return true;
  const auto flag = node->value_exact<bool>();
  if (flag) value = *flag;
  return flag.has_value();
}

bool take(const toml::table& entry, const char* key, std::vector<std::string>& value) {
  const toml::node* node = entry.get(key);
  if (node == nullptr) return true;
  const toml::array* list = node->as_array();
  if (list == nullptr) return false;
  value.clear();
  for (const auto& element : *list) {
    const auto text = element.value_exact<std::string>();
    if (!text) return false;
    value.push_back(*text);
  }
  return true;
}

Result<Program> program_of(const toml::table& entry, const std::string& where) {
  static constexpr std::string_view kKeys[] = {"filesystems", "command",           "package",
                                               "caution",     "offset_option",     "read_only",
                                               "options",     "read_only_options", "read_write_options",
                                               "passed",      "ignored",           "unsupported"};
  for (const auto& [key, value] : entry) {
    if (std::find(std::begin(kKeys), std::end(kKeys), key.str()) == std::end(kKeys)) {
      return fail(EINVAL, "{}: unknown key '{}' in [[program]]", where, base::to_printable(key.str()));
    }
  }
  Program program;
  const bool good = take(entry, "filesystems", program.filesystems) &&
                    take(entry, "command", program.command) && take(entry, "package", program.package) &&
                    take(entry, "caution", program.caution) &&
                    take(entry, "offset_option", program.offset_option) &&
                    take(entry, "read_only", program.read_only) && take(entry, "options", program.options) &&
                    take(entry, "read_only_options", program.read_only_options) &&
                    take(entry, "read_write_options", program.read_write_options) &&
                    take(entry, "passed", program.passed) && take(entry, "ignored", program.ignored) &&
                    take(entry, "unsupported", program.unsupported);
  if (!good) return fail(EINVAL, "{}: a value of [[program]] has the wrong type", where);
  const auto has = [&](const char* word) {
    return std::find(program.command.begin(), program.command.end(), word) != program.command.end();
  };
  if (program.filesystems.empty() || !has("{image}") || !has("{mountpoint}")) {
    return fail(EINVAL, "{}: [[program]] needs filesystems, and a command with {{image}} and {{mountpoint}}",
                where);
  }
  return program;
}

Result<std::vector<Program>> programs_of(std::string_view text, const std::string& name) {
  toml::table document;
  try {
    document = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    // It has the character that was met, which may be a line's end.
    return fail(EINVAL, "{} line {}: {}", name, error.source().begin.line,
                base::to_printable(error.description()));
  }
  for (const auto& [key, value] : document) {
    if (value.is_table() || value.is_array_of_tables()) continue;  // other tables are loopfsd's
    if (key.str() != "program")
      return fail(EINVAL, "{}: unknown key '{}'", name, base::to_printable(key.str()));
  }
  std::vector<Program> programs;
  const toml::node* node = document.get("program");
  if (node == nullptr) return programs;
  const toml::array* list = node->as_array();
  if (list == nullptr) return fail(EINVAL, "{}: 'program' must be written as [[program]]", name);
  for (const auto& element : *list) {
    const toml::table* entry = element.as_table();
    if (entry == nullptr) return fail(EINVAL, "{}: 'program' must be written as [[program]]", name);
    auto program = program_of(*entry, fmt::format("{} line {}", name, entry->source().begin.line));
    if (!program) return propagate(program);
    programs.push_back(std::move(*program));
  }
  return programs;
}

Result<std::string> contents_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) return errno_fail("open '{}'", path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// HOME may be another user's, as under setpriv(1) or su(1) without -l: that is no file of ours.
bool is_absence(int code, const std::string& path) {
  return code == ENOENT || code == ENOTDIR || (code == EACCES && path != kSystemFile);
}

std::vector<std::string> standard_files() {
  std::vector<std::string> files;
  const char* home = std::getenv("HOME");
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config == '/') {
    files.push_back(std::string(config) + "/loopfs/loopfs.toml");
  } else if (home != nullptr && *home == '/') {
    files.push_back(std::string(home) + "/.config/loopfs/loopfs.toml");
  }
  files.emplace_back(kSystemFile);
  return files;
}

}  // namespace

ProgramTable ProgramTable::built_in() {
  ProgramTable table;
  table.programs_ = programs_of(built_in_programs(), "built-in table").value();
  return table;
}

Result<ProgramTable> ProgramTable::parse(const std::string& text, const std::string& name) {
  auto own = programs_of(text, name);
  if (!own) return propagate(own);
  ProgramTable table;
  table.programs_ = std::move(*own);
  for (auto& program : built_in().programs_) table.programs_.push_back(std::move(program));
  return table;
}

Result<ProgramTable> ProgramTable::load(const std::string& file) {
  std::string text;
  if (!file.empty()) {
    auto contents = contents_of(file);
    if (!contents) return propagate(contents, "configuration");
    return parse(*contents, file);
  }
  ProgramTable table;
  for (const auto& path : standard_files()) {
    auto contents = contents_of(path);
    if (!contents && is_absence(contents.error().code, path)) continue;
    if (!contents) return propagate(contents, "configuration");
    auto own = programs_of(*contents, path);
    if (!own) return propagate(own);
    for (auto& program : *own) table.programs_.push_back(std::move(program));
  }
  for (auto& program : built_in().programs_) table.programs_.push_back(std::move(program));
  return table;
}

const Program* ProgramTable::find(const std::string& filesystem) const {
  const Program* first = nullptr;
  for (const auto& program : programs_) {
    if (std::find(program.filesystems.begin(), program.filesystems.end(), filesystem) ==
        program.filesystems.end()) {
      continue;
    }
    if (locate_program(program)) return &program;
    if (first == nullptr) first = &program;
  }
  return first;
}

std::optional<std::string> locate_program(const Program& program) {
  const std::string& name = program.command.front();
  if (name.find('/') != std::string::npos) {
    return ::access(name.c_str(), X_OK) == 0 ? std::optional(name) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path != nullptr ? path : "") +
                             ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (folder.empty() || folder.front() != '/') continue;
    const std::string candidate = folder + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

}  // namespace loopfs::mounter
