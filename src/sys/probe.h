// What the kernel lets this process do, found out by doing it in a child. For `loopfs doctor`.
// Each answer is 0 or the errno that the attempt failed with. The caller must be single-threaded.
#pragma once

namespace loopfs::sys {

// A user namespace with a mount and a pid namespace of its own, as an unprivileged user makes one. What comes
// after a step that failed has not been tried and has its errno.
struct NamespaceProbe {
  int create = 0;      // unshare(2) and an id map of one entry
  int mount_api = 0;   // fsopen, fsmount, open_tree
  int mount_fuse = 0;  // a FUSE mount from a /dev/fuse opened inside
  int clone_fuse = 0;  // a second channel for it
  int mount_proc = 0;  // a proc for the new pid namespace
  int pivot_root = 0;  // to a tmpfs
  int cover_root = 0;  // the way without pivot_root(2)
  int attributes = 0;  // mount_setattr
};
NamespaceProbe probe_namespaces();

// What the instance's server does to a process in a user namespace that its user owns.
struct ForeignProcessProbe {
  int read_syscall = 0;  // /proc/PID/syscall
  int read_memory = 0;   // process_vm_readv
  int take_fd = 0;       // pidfd_getfd
};
ForeignProcessProbe probe_foreign_process();

// The same on a child that there is; it must not have called execve(2).
ForeignProcessProbe probe_process(int pidfd);

// A seccomp filter with a listener. EBUSY: this process already is below one.
struct NotifyProbe {
  int listener = 0;
  int wait_killable = 0;  // with SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
};
NotifyProbe probe_seccomp_notify();

}  // namespace loopfs::sys
