// What the server and its porters say to each other. Both are of one program: a porter is a fork of it.
#pragma once

#include <linux/loop.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace loopfs::porter {

enum class Act : uint32_t {
  kReadMemory,      // of thread `tid`: `size` bytes at `address`, which come with the answer
  kWriteMemory,     // the bytes that come with the order
  kTakeFile,        // descriptor `number` of thread `tid`, as a backing file
  kTakeDescriptor,  // the same, of any kind
  kConfigure,       // the loop device that comes with the order is bound to the file that was taken
  kChangeFile,      // LOOP_CHANGE_FD of the device
  kIsBacking,       // whether the device is bound to the file
  kIoctl,  // `command` on the descriptor that was taken, if it is of the disk with the sequence number `value`, with
           // `address` as its argument, or with the bytes that come with the order
  kClear,  // LOOP_CLR_FD of the host's loop device `number`, if its disk has the sequence number `value`
  kKeep,   // the descriptor that comes with the order, until it rests
  kMountFilesystem,    // of the device; the mount comes with the answer
  kRemountFilesystem,  // the superblock that is mounted of the device
  kRest,               // lets go of all that it has; says kRested when it is through
};

struct Order {
  Act act = Act::kRest;
  pid_t tid = 0;
  int32_t number = -1;
  uint64_t address = 0, size = 0, value = 0;
  uint32_t command = 0;
  dev_t instance = 0;         // st_dev of the caller's own instance, which must not be asked
  bool fuse_backing = false;  // whether files of FUSE file systems may be bound
  loop_config config = {};
};

// Of a file that was taken.
struct FileFacts {
  dev_t device = 0;
  ino_t inode = 0;
  bool writable = false;  // through the descriptor
};

struct Answer {
  int32_t code = 0;  // errno
  FileFacts facts;
  char what[128] = {};  // what failed
};

inline constexpr char kRested = 'r';

struct Packet {
  std::vector<std::byte> bytes;  // after the Order or Answer
  std::vector<Fd> fds;
};

// An Order or an Answer, and what comes with it. Errors: EPIPE the other end is gone, EPROTO.
Result<void> send(int socket, const Order& order, std::span<const std::byte> bytes, std::span<const int> fds);
Result<void> send(int socket, const Answer& answer, std::span<const std::byte> bytes,
                  std::span<const int> fds);
Result<Packet> receive(int socket, Order& order);
Result<Packet> receive(int socket, Answer& answer);

// A list of words in one run of bytes.
std::vector<std::byte> join_words(const std::vector<std::string>& words);
std::vector<std::string> split_words(std::span<const std::byte> bytes);

}  // namespace loopfs::porter
