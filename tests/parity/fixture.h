// What the parity cases share: devices in a known state, files, and the printing of results.
#pragma once

#include <linux/loop.h>

#include <string>
#include <type_traits>
#include <vector>

#include "port.h"

namespace parity {

class Fixture {
 public:
  Fixture(Port& to, std::string folder) : port(to), folder_(std::move(folder)) {}

  // Each group of cases starts with devices a and b new, unbound and closed.
  void begin(const std::string& group);
  void end();  // detaches and removes the devices

  // "group/name: RESULT extra", where RESULT is a number or an errno.
  void print(const std::string& name, long result, const std::string& extra = {}) const;
  // The same with a text that is made after the result is there.
  template <typename F>
  requires std::is_invocable_r_v<std::string, F>
  void print(const std::string& name, long result, F&& extra) const {
    print(name, result, std::string(extra()));
  }

  // An open node, closed at the end of the group; -errno if it cannot be opened.
  int open(const std::string& name, int flags);
  long close(int fd);
  // A file of that many bytes, each 512-byte sector filled with its own pattern.
  std::string file(const std::string& name, uint64_t size) const;
  int open_file(const std::string& name, uint64_t size, int flags);
  int track(int fd);  // a descriptor of the system, closed at the end of the group

  long ioctl(int fd, unsigned long command, unsigned long argument = 0) {
    return port.ioctl(fd, command, argument);
  }
  template <typename T>
  long ioctl_at(int fd, unsigned long command, T* argument) {
    return port.ioctl(fd, command, reinterpret_cast<unsigned long>(argument));
  }
  long configure(int fd, int file, uint32_t flags = 0, uint64_t offset = 0, uint64_t sizelimit = 0,
                 uint32_t block_size = 0);
  uint64_t size(int fd);                 // BLKGETSIZE64
  uint64_t sequence(int fd);             // BLKGETDISKSEQ
  std::string status(int fd, int file);  // LOOP_GET_STATUS64 in words; dev and inode compared with the file's

  Port& port;

 private:
  std::string group_, folder_;
  std::vector<int> nodes_, files_;
};

std::string errno_name(long result);

void control_cases(Fixture&);
void bind_cases(Fixture&);
void status_cases(Fixture&);
void clear_cases(Fixture&);
void change_cases(Fixture&);
void property_cases(Fixture&);
void block_cases(Fixture&);
void discard_cases(Fixture&);
void io_cases(Fixture&);
void direct_cases(Fixture&);
void file_cases(Fixture&);
void partition_cases(Fixture&);
void table_cases(Fixture&);

}  // namespace parity
