# mount(2) and umount2(2) as they are, for programs of the tests: PYTHONPATH has this folder.
import ctypes
import errno
import sys

libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_MOVE = 1, 32, 4096, 16384, 1 << 18, 8192


def text(value):
    return None if value is None else value.encode()


# "0", or the errno's name, of what a call has returned.
def name(result):
    return "0" if result == 0 else errno.errorcode[ctypes.get_errno()]


def mount(source, target, kind="ext4", flags=0, data=None):
    return name(libc.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data)))


def umount(target, flags=0):
    return name(libc.umount2(text(target), flags))


def check(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got}, expected {wanted}")
