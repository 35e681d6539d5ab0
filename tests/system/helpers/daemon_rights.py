#!/usr/bin/python3
"""A stand-in for loopfsd in system/units: does what the daemon must be allowed to do, and what it must not, and
writes each answer to /results. Then it is ready, and notes the signals it gets."""
import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess

NUMBER = int(os.environ["LOOP_NUMBER"])
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
SYS = {"process_vm_readv": 310, "pidfd_getfd": 438, "setns": 308, "settimeofday": 164, "delete_module": 176}
libc = ctypes.CDLL(None, use_errno=True)
results = open("/results", "a", buffering=1)


def note(name, answer):
    print(f"{name}: {answer}", file=results)


def call(name, *args):
    args = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    got = libc.syscall(ctypes.c_long(SYS[name]), *args)
    return "ok" if got >= 0 else errno.errorcode[ctypes.get_errno()]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "ok" if done.returncode == 0 else done.stdout + done.stderr


def in_child(act):
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    os.waitpid(pid, 0)


def kernel_device():
    with open("/dev/loop-control") as control:
        fcntl.ioctl(control, LOOP_CTL_ADD, NUMBER)
        try:
            with open(f"/sys/block/loop{NUMBER}/dev") as dev:
                major, minor = dev.read().split(":")
            os.mknod("/run/node", 0o60600, os.makedev(int(major), int(minor)))
            for command in (
                ("mke2fs", "-q", "-F", "/image", "16M"),
                ("losetup", "/run/node", "/image"),
                ("mount", "-t", "ext4", "/run/node", "/mnt"),
                ("umount", "/mnt"),
                ("losetup", "-d", "/run/node"),
            ):
                note("kernel device: " + command[0], run(*command))
            os.unlink("/run/node")
        finally:
            fcntl.ioctl(control, LOOP_CTL_REMOVE, NUMBER)


def container_process():
    """Of another user, in namespaces of its own."""
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "sh", "-c", "echo; read x"],
        stdin=subprocess.PIPE, stdout=theirs)
    os.close(theirs)
    os.read(ours, 1)  # it is where it should be
    note("pidfd_getfd", call("pidfd_getfd", os.pidfd_open(child.pid), 1, 0))
    with open(f"/proc/{child.pid}/maps") as maps:
        stack = int([line for line in maps if "[stack]" in line][0].split("-")[1].split()[0], 16) - 16
    buffer = ctypes.create_string_buffer(16)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
    remote = (ctypes.c_void_p * 2)(stack, 16)
    note("process_vm_readv", call("process_vm_readv", child.pid, local, 1, remote, 1, 0))
    namespaces = {kind: os.open(f"/proc/{child.pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")}
    in_child(lambda: note("setns mnt", call("setns", namespaces["mnt"], 0)))
    in_child(lambda: note("setns user", call("setns", namespaces["user"], 0)))
    child.communicate()


def main():
    listener = socket.socket(fileno=3)
    note("socket", listener.getsockname())
    note("mount namespace of init", os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt"))
    kernel_device()
    container_process()
    note("loopfs", run("loopfs", "run", "--", "sh", "-ec", """
        truncate -s 16M /tmp/image
        losetup /dev/loop0 /tmp/image
        mke2fs -q /dev/loop0
        mount /dev/loop0 /mnt
        umount /mnt
        losetup -d /dev/loop0"""))
    note("settimeofday", call("settimeofday", 0, 0))
    note("delete_module", call("delete_module", b"nonsense", 0))
    try:
        socket.socket(socket.AF_INET)
        note("AF_INET", "ok")
    except OSError as error:
        note("AF_INET", errno.errorcode[error.errno])
    signal.signal(signal.SIGHUP, lambda *_: note("signal", "HUP"))
    signal.signal(signal.SIGTERM, lambda *_: (note("signal", "TERM"), os._exit(0)))
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address[0] == "@" else address)
        notify.send(b"READY=1")
    while True:
        listener.accept()


main()
