#include "supervisor/filter.h"

#include <linux/filter.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <termios.h>

#include <memory>

#include "supervisor/loop_ioctls.h"
#include "supervisor/window_filter.h"
#include "sys/process.h"
#include "sys/seccomp.h"

namespace loopfs::supervisor {
namespace {

// 32-bit programs have numbers of their own; without a rule for them they could not run at all.
int add_architectures(scmp_filter_ctx context) {
#ifdef __x86_64__
  for (const uint32_t architecture : {SCMP_ARCH_X86, SCMP_ARCH_X32}) {
    if (const int code = ::seccomp_arch_add(context, architecture); code != 0 && code != -EEXIST) return code;
  }
#elif defined(__aarch64__)
  if (const int code = ::seccomp_arch_add(context, SCMP_ARCH_ARM); code != 0 && code != -EEXIST) return code;
#endif
  return 0;
}

// The kernel looks at the low half of an ioctl's number only: so must the filter.
int add_ioctl(scmp_filter_ctx context, uint32_t action, unsigned long command) {
  return ::seccomp_rule_add(context, action, SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, command & 0xffffffffUL));
}

int add_rules(scmp_filter_ctx context, bool loop_ioctls) {
  // umount: i386 has both.
  for (const int call : {SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(umount)}) {
    if (const int code = ::seccomp_rule_add(context, SCMP_ACT_NOTIFY, call, 0); code != 0) return code;
  }
  for (const int call : {SCMP_SYS(fsopen), SCMP_SYS(fspick)}) {
    if (const int code = ::seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), call, 0); code != 0) return code;
  }
  // What is not to be copied is to be changed, perhaps; libmount does that by mount(2), if this is ENOSYS.
  if (const int code = ::seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(open_tree), 1,
                                          SCMP_A2(SCMP_CMP_MASKED_EQ, OPEN_TREE_CLONE, 0));
      code != 0)
    return code;
  for (const unsigned long command : {TIOCSTI, TIOCLINUX}) {
    if (const int code = add_ioctl(context, SCMP_ACT_ERRNO(EPERM), command); code != 0) return code;
  }
  if (!loop_ioctls) return 0;
  for (const unsigned long command : trapped_loop_ioctls()) {
    if (const int code = add_ioctl(context, SCMP_ACT_NOTIFY, command); code != 0) return code;
  }
  return 0;
}

}  // namespace

Result<Fd> install_filter(const FilterOptions& options) {
  const std::unique_ptr<void, void (*)(void*)> context(::seccomp_init(SCMP_ACT_ALLOW), ::seccomp_release);
  if (!context) return fail(ENOMEM, "seccomp_init");
  // A call of an architecture that is not listed is none of ours.
  ::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
  if (const int code = add_architectures(context.get()); code != 0) return fail(-code, "seccomp_arch_add");
  if (const int code = add_rules(context.get(), options.loop_ioctls); code != 0)
    return fail(-code, "seccomp_rule_add");
  auto code = sys::compile_filter(context.get());
  if (!code) return propagate(code);
  std::vector<sock_filter> filter = options.node_calls ? window_filter() : std::vector<sock_filter>();
  filter.insert(filter.end(), code->begin(), code->end());
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return sys::install_filter_with_listener(program);
}

bool outer_supervisor_is_loopfs() {
  return ::mount("loopfs", "/", kQuestionType, 0, nullptr) != 0 && errno == EALREADY;
}

}  // namespace loopfs::supervisor
