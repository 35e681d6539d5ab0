#include "supervisor/window_filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <bit>
#include <cstddef>

#include "supervisor/descriptor_window.h"

namespace loopfs::supervisor {

#ifdef __x86_64__

namespace {

static_assert(std::endian::native == std::endian::little);  // the low half of an argument comes first

constexpr uint32_t argument(size_t index) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
}

constexpr sock_filter load(uint32_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

constexpr sock_filter jump(uint16_t test, uint32_t value, uint8_t if_true, uint8_t if_false) {
  return BPF_JUMP(static_cast<uint16_t>(BPF_JMP | test | BPF_K), value, if_true, if_false);
}

}  // namespace

// Each jump's distances count from the instruction behind it.
std::vector<sock_filter> window_filter() {
  return {
      load(offsetof(seccomp_data, arch)),
      jump(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 14),  // to the end
      load(offsetof(seccomp_data, nr)),
      jump(BPF_JEQ, SYS_newfstatat, 3, 0),
      jump(BPF_JEQ, SYS_fstat, 6, 0),
      jump(BPF_JEQ, SYS_ftruncate, 5, 0),
      jump(BPF_JEQ, SYS_statx, 2, 9),  // to the end
      // newfstatat
      load(argument(3)),
      BPF_STMT(BPF_JMP | BPF_JA, 1),
      // statx
      load(argument(2)),
      jump(BPF_JSET, AT_EMPTY_PATH, 0, 3),  // to "allow"
      // fstat, ftruncate, and the others of a descriptor
      load(argument(0)),
      jump(BPF_JGE, kFirstOfWindow, 0, 1),
      jump(BPF_JGT, kLastOfWindow, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
}

#else

std::vector<sock_filter> window_filter() {
  return {};
}

#endif

}  // namespace loopfs::supervisor
