// Kernel interface constants that Debian 12's headers lack. One place for all of them.
#pragma once

#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL  // pidfd_open: linux/pidfd.h, 6.9
#endif
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x00000020  // pwritev2: linux/fs.h, 6.9
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)  // linux/seccomp.h, 5.19
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)  // linux/seccomp.h, 6.6
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, __u64)  // linux/seccomp.h, 6.6
#endif
#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)  // linux/fs.h, 5.15
#endif
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202  // statfs: ipc/mqueue.c
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // getsockopt: asm-generic/socket.h, 6.5
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // setsockopt: asm-generic/socket.h, 6.16
#endif
