#!/usr/bin/env bash
# mount(2) and umount2(2) by every kind of path and caller: relative, by links, by /proc/self, by a descriptor of a
# directory, from a thread, from 32-bit code; and calls that are none of our business.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs python3

truncate -s 16M fs.img
mkdir content d
echo hello >content/file
mkfs.ext4 -q -d content fs.img
ln -s d link

export PYTHONPATH=$TEST_FOLDER/tests/system/helpers PYTHONDONTWRITEBYTECODE=1
cat >calls.py <<'END'
import ctypes, errno, mmap, os, platform, sys, threading

from mount_calls import *

here = os.getcwd()


def works(what, source, target):
    check(what, mount(source, target), "0")
    check(what, open(f"{here}/d/file").read(), "hello\n")
    check(what, umount(f"{here}/d"), "0")


def paths():
    node = os.open("/dev/loop0", os.O_PATH)
    place = os.open("d", os.O_PATH | os.O_DIRECTORY)
    works("absolute", "/dev/loop0", f"{here}/d")
    works("relative", "/dev/loop0", "d")
    works("with dots", "/dev/../dev/./loop0", "./d/../d/.")
    works("target by a link", "/dev/loop0", "link")
    works("source by /proc/self/fd", f"/proc/self/fd/{node}", "d")
    works("source by /dev/fd", f"/dev/fd/{node}", "d")
    works("target by /proc/self/fd", "/dev/loop0", f"/proc/self/fd/{place}")
    works("target by /proc/self/cwd", "/dev/loop0", "/proc/self/cwd/d")
    works("by /proc/thread-self", f"/proc/thread-self/fd/{node}", "/proc/thread-self/cwd/d")
    os.chdir("/dev")
    works("source relative", "loop0", f"{here}/d")
    os.chdir(here)
    with_a_blank = "d/a blank"
    check("mkdir", mount("/dev/loop0", "d"), "0")
    os.makedirs(with_a_blank, exist_ok=True)
    check("again", mount("/dev/loop0", with_a_blank), "0")
    check("umount", umount(with_a_blank), "0")
    check("on itself", mount("/dev/loop0", "d"), "EBUSY")
    check("on itself, read-only", mount("/dev/loop0", "d", "ext4", MS_RDONLY), "EBUSY")
    check("umount", umount("d"), "0")
    check("UMOUNT_NOFOLLOW", mount("/dev/loop0", "d"), "0")
    check("UMOUNT_NOFOLLOW of a link", umount("link", 8), "EINVAL")
    check("UMOUNT_NOFOLLOW", umount("d", 8), "0")


def threads():
    result = []
    def inside():
        # A thread's directory may be its own.
        libc.unshare(0x200)  # CLONE_FS
        os.chdir("d/..")
        works("in a thread", "/dev/loop0", "d")
        result.append(True)
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    check("thread", result, [True])


def errors():
    check("no source", mount(None, "d"), "EINVAL")
    check("an empty source", mount("", "d"), "EINVAL")
    check("no source and no target", mount(None, "nowhere"), "ENOENT")
    check("an unknown type", mount("/dev/loop0", "d", "nosuchfs"), "ENODEV")
    check("no target", mount("/dev/loop0", ""), "ENOENT")
    check("no such source", mount("/dev/loop77", "d"), "ENOENT")
    check("an unbound device", mount("/dev/loop1", "d"), "EIO")
    check("a file", mount("fs.img", "d"), "ENOTBLK")
    check("a directory", mount("d", "d"), "ENOTBLK")
    check("loop-control", mount("/dev/loop-control", "d"), "ENOTBLK")
    check("a target that is a file", mount("/dev/loop0", "fs.img"), "ENOTDIR")
    check("a long path", mount("/dev/loop0", "d/" + "x" * 5000), "ENAMETOOLONG")
    check("another type", mount("/dev/loop0", "d", "vfat"), "EINVAL")
    check("bad address", name(libc.mount(ctypes.c_void_p(1), b"d", b"ext4", 0, None)), "EFAULT")
    check("bad data", name(libc.mount(b"/dev/loop0", b"d", b"ext4", ctypes.c_ulong(0), ctypes.c_void_p(1))), "EFAULT")
    check("umount of nothing", umount("d"), "EINVAL")
    check("magic number", mount("/dev/loop0", "d", "ext4", 0xC0ED0000 | MS_RDONLY), "0")
    check("read-only", os.statvfs("d").f_flag & os.ST_RDONLY, 1)
    check("data of a second mount", mount("/dev/loop0", "d", "ext4", MS_RDONLY, "no_such_option"), "EINVAL")
    check("umount with bad flags", umount("d", 0x100), "EINVAL")
    check("umount", umount("d"), "0")


def kernels():
    check("tmpfs", mount("none", "d", "tmpfs"), "0")
    check("bind", mount("content", "d", None, MS_BIND), "0")
    check("private", mount(None, "d", None, MS_PRIVATE | MS_REC), "0")
    check("remount of a bind", mount(None, "d", None, MS_REMOUNT | MS_BIND | MS_RDONLY), "0")
    check("umount", umount("d"), "0")
    check("remount of another's", mount(None, "d", None, MS_REMOUNT | MS_RDONLY), "0")
    check("umount", umount("d"), "0")
    check("unknown type", mount("none", "d", "nosuchfs"), "ENODEV")
    check("mount", mount("/dev/loop0", "d"), "0")
    os.makedirs("content/moved", exist_ok=True)
    check("move", mount("d", "content/moved", None, MS_MOVE), "0")
    check("moved", open("content/moved/file").read(), "hello\n")
    check("MNT_EXPIRE", umount("content/moved", 4), "EAGAIN")
    check("MNT_EXPIRE again", umount("content/moved", 4), "0")


def code32():
    """int 0x80 in a 64-bit process is a 32-bit system call: pointers below 4 GiB, other numbers."""
    memory = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40,
                       prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    # call(arguments): rbx = [rdi+4], ecx, edx, esi, edi from the array behind; eax = [rdi]
    code = bytes([0x53, 0x57, 0x8B, 0x07, 0x8B, 0x5F, 0x04, 0x8B, 0x4F, 0x08, 0x8B, 0x57, 0x0C, 0x8B, 0x77, 0x10,
                  0x8B, 0x7F, 0x14, 0xCD, 0x80, 0x5F, 0x5B, 0xC3])
    memory[:len(code)] = code
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(base)
    used = [512]

    def put(value):
        if value is None:
            return 0
        at = used[0]
        memory[at:at + len(value) + 1] = value.encode() + b"\0"
        used[0] += len(value) + 1
        return base + at

    def call32(number, *arguments):
        array = (ctypes.c_uint32 * 6)(number, *arguments)
        memory[256:280] = bytes(array)
        result = call(base + 256)
        return "0" if result >= 0 else errno.errorcode[-result]

    child = os.fork()  # without such calls in the kernel it dies
    if child == 0:
        call32(13, 0)  # time
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        print("int 0x80 is not to be had here: left out")
        return
    check("mount of 32-bit code", call32(21, put("/dev/loop0"), put("d"), put("ext4"), 0, 0), "0")
    check("its content", open("d/file").read(), "hello\n")
    check("open_tree of 32-bit code", call32(428, -100 & 0xffffffff, put("d"), 0), "ENOSYS")
    check("open_tree of what is not ours", call32(428, -100 & 0xffffffff, put("."), 0), "0")
    check("fspick of 32-bit code", call32(433, -100 & 0xffffffff, put("d"), 0), "ENOSYS")
    check("umount2 of 32-bit code", call32(52, put("d"), 0), "0")
    check("its end", mount("/dev/loop0", "d"), "0")
    check("umount of 32-bit code", call32(22, put("d")), "0")
    check("fsopen of 32-bit code", call32(430, put("ext4"), 0), "ENOSYS")
    check("mount of 32-bit code", call32(21, put("/dev/loop1"), put("d"), put("ext4"), 0, 0), "EIO")


paths()
threads()
errors()
kernels()
if platform.machine() == "x86_64":
    code32()
END

inside() {
  losetup /dev/loop0 fs.img
  python3 calls.py
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}
in_sandbox inside
