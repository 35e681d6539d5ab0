#!/usr/bin/python3
"""connection_hog.py SOCKET UID IDS: as root; UID makes a user namespace in which he has IDS further ids, and connects to loopfsd as
each of them until he is turned away. Prints how many connections he has got, and holds them until standard input ends."""
import ctypes
import json
import os
import socket
import sys

CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    try:
        connection.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
        answer = json.loads(connection.recv(65536)[:-1])
    except (BrokenPipeError, ConnectionResetError):
        return None
    return None if "error" in answer else connection


def hold_all(path, user, results):
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    held = []
    while len(held) < 600 and (connection := connect(path)):
        held.append(connection)
    os.write(results, len(held).to_bytes(4, "little"))
    sys.stdin.read()


def main():
    path, user, ids = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ready, mapped, results = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        assert libc.unshare(CLONE_NEWUSER) == 0, os.strerror(ctypes.get_errno())
        os.write(ready[1], b"x")
        os.read(mapped[0], 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        for number in range(1, ids + 1):
            if os.fork() == 0:
                hold_all(path, number, results[1])
                os._exit(0)
        for _ in range(ids):
            os.wait()
        os._exit(0)
    os.read(ready[0], 1)
    for name in "gid_map", "uid_map":
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write(f"0 {user} 1\n1 {user * 100} {ids}\n")
    os.write(mapped[1], b"x")
    total = 0
    for _ in range(ids):
        total += int.from_bytes(os.read(results[0], 4), "little")
    print(total, flush=True)
    sys.stdin.read()
    os.waitpid(child, 0)


main()
