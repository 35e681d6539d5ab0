#include "fusefs/caller_syscall.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <algorithm>

namespace loopfs::fusefs {
namespace {

constexpr OpenFlags kNoOpen{};

OpenFlags direct(uint64_t flags) {
  return {true, false, flags};
}
OpenFlags indirect(uint64_t address) {
  return {true, true, address};
}

#ifdef __x86_64__
constexpr uint64_t kX32Bit = 0x40000000;

bool is_32_bit(const sys::SystemCall& call) {
  constexpr uint64_t kLimit = uint64_t{1} << 32;
  return call.stack_pointer < kLimit && call.program_counter < kLimit;
}

// The numbers of arch/x86/entry/syscalls/syscall_32.tbl.
OpenFlags open_flags_of_i386(const sys::SystemCall& call) {
  switch (call.number) {
    case 5:
      return direct(call.arguments[1]);  // open
    case 8:
      return direct(O_WRONLY);  // creat
    case 295:
      return direct(call.arguments[2]);  // openat
    case 437:
      return indirect(call.arguments[2]);  // openat2
    case 426:
      return direct(0);  // io_uring_enter
    default:
      return kNoOpen;
  }
}
#endif

}  // namespace

OpenFlags open_flags_of(const sys::SystemCall& call) {
  if (call.of_io_uring()) return direct(0);
  uint64_t number = static_cast<uint64_t>(call.number);
#ifdef __x86_64__
  if (is_32_bit(call) && (number & kX32Bit) == 0) return open_flags_of_i386(call);
  number &= ~kX32Bit;
#endif
  switch (number) {
#ifdef SYS_open
    case SYS_open:
      return direct(call.arguments[1]);
    case SYS_creat:
      return direct(O_WRONLY);
#endif
    case SYS_openat:
      return direct(call.arguments[2]);
    case SYS_openat2:
      return indirect(call.arguments[2]);
    case SYS_io_uring_enter:
      return direct(0);
    default:
      return kNoOpen;
  }
}

Intent intent_of_flags(uint64_t flags) {
  if ((flags & O_PATH) != 0) return {.opens_path = true};
  return {.opens = true, .exclusive = (flags & O_EXCL) != 0};
}

bool only_looks(const sys::SystemCall& call) {
  if (call.of_io_uring()) return false;  // made while its process was in stat(2), it would show that for ever
    // Which of a processor's two tables of system calls a number belongs to cannot be told for certain: a program
    // chooses where its code and stack are, and how it enters the kernel. So each of these is harmless in both
    // (x86-64's fstat, access and unlink are i386's open, mount and swapon, and are not here).
#ifdef __x86_64__
  constexpr int64_t kLooks[] = {
      SYS_stat, SYS_lstat, SYS_readlink, SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_readlinkat,
      SYS_getxattr, SYS_fchmodat, SYS_fchownat, SYS_unlinkat, SYS_utimensat, 439 /* faccessat2 */,
      // of i386: stat, lstat, stat64, lstat64, fstatat64, statx, access, faccessat, readlinkat
      106, 107, 195, 196, 300, 383, 33, 307, 305};
#else
  constexpr int64_t kLooks[] = {SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_readlinkat};
#endif
  return std::ranges::find(kLooks, call.number) != std::end(kLooks);
}

bool is_open_call(const Intent& intent) {
  if (!intent.opens || !intent.call || intent.call->of_io_uring()) return false;
  return intent.call->number != SYS_io_uring_enter;
}

Intent intent_of(const engine::Caller& caller) {
  const auto call = sys::system_call_of(caller.thread());
  if (!call) return {.opens = true};
  const OpenFlags found = open_flags_of(*call);
  Intent intent{.opens = true};
  if (!found.opens) {
    intent = {.looks = only_looks(*call)};
  } else if (!found.in_memory) {
    intent = intent_of_flags(found.where);
  } else {
    open_how how{};
    auto read = caller.read(found.where, std::as_writable_bytes(std::span(&how.flags, 1)));
    if (read) intent = intent_of_flags(how.flags);
  }
  intent.call = *call;
  return intent;
}

}  // namespace loopfs::fusefs
