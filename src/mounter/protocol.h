// What the supervisor asks a worker of the agent, and what it answers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "sys/message.h"

namespace loopfs::mounter {

enum class Operation { kStat, kMount, kUnmount, kClone, kRemount, kServed, kAttach, kBindAcross };

// Every path is one of the caller's: the worker resolves it in the caller's namespaces, root and directory.
// With the request go these descriptors, in this order: see Caller; for kMount also `listener` and, unless
// `device_path` is set, the image. kServed: a mount of what a program of the caller's serves; `options` has
// the data of its mount(2), and its /dev/fuse goes with the request in the image's place. kAttach: a detached
// mount goes there. kBindAcross: `device_path` of the caller's mount namespace is bound at `path` in another one of its user
// namespace, which goes there.
struct Request {
  Operation operation = Operation::kStat;
  std::string path;    // the target; of kStat: what to look at
  bool follow = true;  // a symbolic link as the last component (not of kMount, kClone: always followed)
  uint64_t flags = 0;  // of umount2(2), or MS_* of kRemount
  dev_t device = 0;    // st_dev of the mount to clone or to replace

  // kMount
  std::string asked_type;            // as given to mount(2)
  std::string source;                // shown in /proc/self/mounts
  std::string executable;            // empty: EPERM if the image is of the type asked for, EINVAL if not
  std::vector<std::string> command;  // argv, with {image}, {mountpoint}, {options}
  std::vector<std::string> options;
  std::string offset_option;      // "offset={offset}"
  std::string device_path;        // opened as the image by the worker, who then checks that it is ...
  dev_t image_device = 0;         // ... on this file system (st_dev), and ...
  ino_t image_inode = 0;          // ... this node's file (st_ino)
  uint64_t offset = 0, size = 0;  // of the file system in the image, bytes
  uint64_t attributes = 0;        // MOUNT_ATTR_*
  bool read_only = false, synchronous = false;
  bool replace = false;       // take away the idle mount at `path` first (read-only to read-write)
  uint64_t notification = 0;  // id at `listener`: nothing is attached once it is not valid any more
};

struct Reply {
  int error = 0;            // errno
  std::string line;         // why, for the user; may be empty
  dev_t device = 0;         // kStat, kUnmount: st_dev; kMount: of the new mount
  dev_t node = 0;           // kStat: st_rdev
  ino_t inode = 0;          // kStat: st_ino
  mode_t mode = 0;          // kStat: st_mode
  bool on_fuse = false;     // kStat: a block device or a file, whose node is on a FUSE file system
  bool mount_root = false;  // kStat: the root of a mount
  // kMount: two descriptors come with it, a pidfd of the program and a duplicate of its /dev/fuse.
};

std::vector<std::byte> encode(const Request& request);
Result<Request> decode_request(std::span<const std::byte> bytes);
std::vector<std::byte> encode(const Reply& reply);
Result<Reply> decode_reply(std::span<const std::byte> bytes);

}  // namespace loopfs::mounter
