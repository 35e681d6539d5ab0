#!/usr/bin/env bash
# The system calls of mount(8) of util-linux 2.39 and newer, which knows open_tree(2), fspick(2) and fsopen(2): they send it
# to mount(2) where a superblock would be reconfigured, and are the kernel's for all else.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs python3

truncate -s 16M fs.img
mkdir -p content/sub d e t
echo hello >content/file
echo below >content/sub/file
mkfs.ext4 -q -d content fs.img

export PYTHONPATH=$TEST_FOLDER/tests/system/helpers PYTHONDONTWRITEBYTECODE=1
cat >calls.py <<'END'
import ctypes, errno, os, sys

from mount_calls import *

# The same numbers on every architecture.
OPEN_TREE, MOVE_MOUNT, FSOPEN, FSPICK = 428, 429, 430, 433
AT_FDCWD, CLONE, CLOEXEC, MOVE_EMPTY = -100, 1, 0o2000000, 4
CLONE_NEWNS = 0x20000
here = os.getcwd()


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]


def open_tree(path, flags=CLOEXEC, folder=AT_FDCWD):
    return call(OPEN_TREE, folder, text(path), flags)


def descriptor(what, got):
    if not isinstance(got, int):
        sys.exit(f"{what}: {got}, expected a descriptor")
    os.close(got)


def read_only():
    return (os.statvfs(f"{here}/d").f_flag & os.ST_RDONLY) != 0


descriptor("open_tree before any mount", open_tree(here))
check("fsopen", call(FSOPEN, b"ext4", 1), "ENOSYS")
check("fsopen(NULL), which asks whether there is one", call(FSOPEN, None, 1), "ENOSYS")
check("fspick", call(FSPICK, AT_FDCWD, b"/", 0), "ENOSYS")
check("mount", mount("/dev/loop0", "d", "ext4"), "0")
# mount -o remount,ro and back; mount --make-private; mount -o remount,bind,ro
check("open_tree of a mount of ours", open_tree(f"{here}/d"), "ENOSYS")
check("by a relative path", open_tree("d"), "ENOSYS")
check("remount", mount("/dev/loop0", "d", "fuse.loop.ext4", MS_REMOUNT | MS_RDONLY), "0")
check("read-only", read_only(), True)
check("open_tree of it", open_tree(f"{here}/d"), "ENOSYS")
check("remount", mount("/dev/loop0", "d", "fuse.loop.ext4", MS_REMOUNT), "0")
check("read-only", read_only(), False)
# What reconfigures nothing
descriptor("open_tree of a folder of ours", open_tree(f"{here}/d/sub"))
descriptor("open_tree of a file of ours", open_tree(f"{here}/d/file"))
descriptor("open_tree of what is not ours", open_tree(here))
descriptor("open_tree of the root", open_tree("/"))
check("open_tree of nothing", open_tree(f"{here}/nothing"), "ENOENT")
folder = os.open("d", os.O_PATH | os.O_DIRECTORY)
descriptor("open_tree by a descriptor", open_tree("sub", CLOEXEC, folder))
os.close(folder)
check("a tmpfs", mount("none", "t", "tmpfs"), "0")
descriptor("open_tree of a tmpfs", open_tree(f"{here}/t"))
check("its end", libc.umount2(b"t", 0), 0)
# mount --bind d e
tree = open_tree(f"{here}/d", CLONE | CLOEXEC)
check("a copy is moved", call(MOVE_MOUNT, tree, b"", AT_FDCWD, text(f"{here}/e"), MOVE_EMPTY), 0)
os.close(tree)
check("the copy", open("e/file").read(), "hello\n")
check("umount of the copy", libc.umount2(b"e", 0), 0)
check("umount", libc.umount2(b"d", 0), 0)


def subdirectory():
    """X-mount.subdir=sub as libmount 2.39 to 2.42 does it by mount(2): two descriptors of mount namespaces."""
    place = "/run/mount/tmptgt"
    try:
        os.makedirs(place, 0o700, exist_ok=True)
    except PermissionError:
        print("no /run/mount here: left out")
        return
    old = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    check("unshare", libc.unshare(CLONE_NEWNS), 0)
    if mount("none", "/run", None, MS_PRIVATE) != "0":
        check("bind of the temporary target", mount(place, place, "none", MS_BIND), "0")
        check("private", mount("none", place, None, MS_PRIVATE), "0")
    new = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    check("mount of the whole", mount("/dev/loop0", place, "ext4"), "0")
    check("bind of a part that is not there", mount(f"{place}/no", f"{here}/d", None, MS_BIND), "ENOENT")
    check("bind of the part", mount(f"{place}/sub", f"{here}/d", None, MS_BIND), "0")
    check("umount of the whole", libc.umount2(place.encode(), 0), 0)
    os.close(new)
    check("setns", libc.setns(old, CLONE_NEWNS), 0)
    os.close(old)
    check("the part", open(f"{here}/d/file").read(), "below\n")
    check("umount of the part", libc.umount2(f"{here}/d".encode(), 0), 0)


subdirectory()
# A bind that only looks like it is the kernel's.
check("no such place", mount("/run/mount/tmptgt/sub", f"{here}/d", None, MS_BIND), "ENOENT")
END

inside() {
  losetup /dev/loop0 fs.img
  python3 calls.py
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}
in_sandbox inside
