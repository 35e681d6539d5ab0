// Which FUSE program serves which file system.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace loopfs::mounter {

// A FUSE program, as the table [[program]] of loopfs.toml describes it.
struct Program {
  std::vector<std::string> filesystems;  // "ext4", ...: the types of mount(2) that it serves

  // argv. Words: {image} the device or image, {mountpoint}, {options} all of what follows, joined by commas.
  std::vector<std::string> command;

  std::string package;        // the Debian package that has it, for the message when it is missing
  std::string offset_option;  // "offset={offset}": for images that do not start at byte 0; empty: it cannot
  std::string
      caution;  // told once, when the first writable mount is made: what the program does not do right
  bool read_only = false;                               // the program cannot write
  std::vector<std::string> options;                     // always
  std::vector<std::string> read_only_options = {"ro"};  // added for a read-only mount
  std::vector<std::string> read_write_options;          // added for a writable one
  std::vector<std::string> passed;  // options of mount(8) that it understands; "uid=" takes any value
  std::vector<std::string>
      ignored;  // options of the kernel's file system that change nothing that anybody would see
  std::vector<std::string>
      unsupported;  // those that are accepted, and the user is told that they have no effect
};

// The table in force: the user's and the system's entries before the built-in ones.
class ProgramTable {
 public:
  // `file`: read in place of /etc/loopfs/loopfs.toml and the user's own; empty: those, where they exist.
  // Errors: those of open(2), EINVAL with the line at fault.
  static Result<ProgramTable> load(const std::string& file);
  static Result<ProgramTable> parse(const std::string& text, const std::string& name);
  static ProgramTable built_in();

  // The first entry for the type whose program is installed, else the first for the type, else null.
  const Program* find(const std::string& filesystem) const;
  const std::vector<Program>& programs() const { return programs_; }

 private:
  std::vector<Program> programs_;
};

// Where the program is: a path with a slash as it is, else searched for in PATH and in the system's folders.
std::optional<std::string> locate_program(const Program& program);

}  // namespace loopfs::mounter
