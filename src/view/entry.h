// One entry of the view: a directory, a file with its text, or a symbolic link with its target.
#pragma once

#include <map>
#include <string>

namespace loopfs::view {

struct Entry {
  enum class Kind { kDirectory, kFile, kLink };
  Kind kind = Kind::kDirectory;
  std::string text;  // a file's content, a link's target

  static Entry directory() { return {}; }
  static Entry file(std::string content) { return {Kind::kFile, std::move(content)}; }
  static Entry link(std::string target) { return {Kind::kLink, std::move(target)}; }
  bool operator==(const Entry&) const = default;
};

// A name in a directory.
struct Listed {
  std::string name;
  Entry::Kind kind = Entry::Kind::kDirectory;
};

// Entries by their path below some directory, without a leading slash.
using Entries = std::map<std::string, Entry>;

}  // namespace loopfs::view
