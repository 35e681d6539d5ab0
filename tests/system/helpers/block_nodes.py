# An opened node and its path are one block device to whoever compares them. block_nodes.py DEVICE
import ctypes
import fcntl
import os
import resource
import stat
import sys

NODE = sys.argv[1]
WINDOW = range(992, 1024)
failures = 0


def check(what, got, expected):
    global failures
    if got != expected:
        failures += 1
        print(f"{what}: {got}, expected {expected}", file=sys.stderr)


libc = ctypes.CDLL(None, use_errno=True)
AT_EMPTY_PATH, AT_FDCWD = 0x1000, -100


# The bytes that say type, place and device, of statx(2).
def statx(descriptor, path, flags):
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(descriptor, path, flags, 0x7FF, buffer) != 0:
        raise OSError(ctypes.get_errno(), "statx")
    # mode, inode; rdev and dev: linux/stat.h
    return buffer.raw[28:30], buffer.raw[32:40], buffer.raw[128:144]


def check_same(what, descriptor):
    expected = os.stat(NODE)
    check(what, stat.S_ISBLK(os.fstat(descriptor).st_mode), True)
    check(what, os.fstat(descriptor), expected)
    check(what + ", statx", statx(descriptor, b"", AT_EMPTY_PATH), statx(AT_FDCWD, NODE.encode(), 0))


for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_RDONLY | os.O_DIRECT, os.O_PATH):
    node = os.open(NODE, flags)
    check_same(f"open({flags:#x})", node)
    check("close on exec", os.get_inheritable(node), False)
    os.close(node)

# What is asked by another way.
here = os.open(os.path.dirname(NODE), os.O_RDONLY | os.O_DIRECTORY)
node = os.open(os.path.basename(NODE), os.O_RDWR, dir_fd=here)
check_same("openat", node)
try:
    os.ftruncate(node, 0)
    check("ftruncate", 0, 22)
except OSError as error:
    check("ftruncate", error.errno, 22)
os.lseek(node, 512, os.SEEK_SET)
check("the offset of a duplicate", os.lseek(os.dup(node), 0, os.SEEK_CUR), 512)
path = os.open(NODE, os.O_PATH | os.O_NOFOLLOW)
again = os.open(f"/proc/self/fd/{path}", os.O_RDWR)
check_same("opened again by its number", again)
for descriptor in (node, path, again):
    os.close(descriptor)

# Inherited by a program.
node = os.open(NODE, os.O_RDONLY)
os.set_inheritable(node, True)
child = os.fork()
if child == 0:
    os.execvp("python3", ["python3", "-c", f"import os, sys; sys.exit(os.fstat({node}) != os.stat('{NODE}'))"])
check("inherited", os.waitpid(child, 0)[1], 0)
os.close(node)

# Standard descriptors are asked for by their number.
child = os.fork()
if child == 0:
    os.close(0)
    os._exit(0 if os.open(NODE, os.O_RDONLY) == 0 else 1)
check("descriptor 0", os.waitpid(child, 0)[1], 0)

# More than there is room for, and none left behind.
many = [os.open(NODE, os.O_RDONLY) for _ in range(40)]
check("all different", len(set(many)), 40)
check("in the window", sum(1 for node in many if node in WINDOW), len(WINDOW))
for descriptor in many:
    os.pread(descriptor, 512, 0)
    os.close(descriptor)
check("nothing left open", [fd for fd in WINDOW if os.path.lexists(f"/proc/self/fd/{fd}")], [])

# Files that are none of ours, by a number of the window.
other = os.open("/etc/passwd", os.O_RDONLY)
fcntl.fcntl(other, fcntl.F_DUPFD, WINDOW[0])
check("another file", os.fstat(WINDOW[0]), os.stat("/etc/passwd"))
os.close(WINDOW[0])
os.close(other)

# Faults are the kernel's.
node = os.open(NODE, os.O_RDONLY)
libc.syscall.restype = ctypes.c_long
check("fstat to nowhere", (libc.syscall(5, node, ctypes.c_void_p(8)), ctypes.get_errno()), (-1, 14))
os.close(node)
check("fstat of nothing", (libc.syscall(5, 1000, ctypes.create_string_buffer(256)), ctypes.get_errno()), (-1, 9))

# Who has a filter of its own is not made to make calls that it may not allow.
child = os.fork()
if child == 0:
    allow = ctypes.create_string_buffer(bytes.fromhex("060000000000ff7f"))  # BPF_RET, SECCOMP_RET_ALLOW
    program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))  # struct sock_fprog
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:
        os._exit(2)
    os._exit(0 if os.open(NODE, os.O_RDONLY) < WINDOW[0] else 1)
check("a filter of its own", os.waitpid(child, 0)[1], 0)

# Where the limit is below the window, the descriptor is as the kernel gives it.
resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))
node = os.open(NODE, os.O_RDONLY)
check("a low limit", node < 500, True)
os.close(node)
sys.exit(failures != 0)
