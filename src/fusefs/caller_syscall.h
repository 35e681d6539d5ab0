// Which answer a path walk gets: decided by the system call that the caller is in.
#pragma once

#include <sys/types.h>

#include <optional>

#include "engine/caller.h"
#include "sys/procfs.h"

namespace loopfs::fusefs {

// What the caller is about to do with the name it looks up.
struct Intent {
  bool opens = false;       // it will open the node for I/O: the answer is a regular file
  bool exclusive = false;   // ... with O_EXCL
  bool opens_path = false;  // it is in open(2) with O_PATH
  bool looks = false;       // whatever it gets, it will not open, mount, or keep: stat(2) and its like
  std::optional<sys::SystemCall> call = {};  // none: unknown
};

// How the caller's flags have to be found: openat2(2) has them in memory.
struct OpenFlags {
  bool opens = false;
  bool in_memory = false;  // `where` is the address of a struct open_how
  uint64_t where = 0;      // the flags, or that address
};

// Pure: the system calls that open a path, of x86-64, of aarch64 and, told by registers below 4 GiB, of i386.
// io_uring opens count as opening: from io_uring_enter(2), or from a worker thread, which is in no system
// call.
OpenFlags open_flags_of(const sys::SystemCall& call);

// Pure: with O_PATH nothing is opened.
Intent intent_of_flags(uint64_t flags);

// Pure: the system calls that walk a path and have no use for what is behind the node. All others may come to
// open it, in the kernel if not by a descriptor: mount(2), swapon(2), O_PATH and what follows it.
bool only_looks(const sys::SystemCall& call);

// Pure: the caller itself is in open(2) or one of its kind; not a worker of io_uring for it, nor one that waits for
// many things at once.
bool is_open_call(const Intent& intent);

// Asks /proc. A caller that cannot be read is taken to open: its file leads nowhere but to our own server.
Intent intent_of(const engine::Caller& caller);

}  // namespace loopfs::fusefs
