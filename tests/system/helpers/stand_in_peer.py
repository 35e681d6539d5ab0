#!/usr/bin/python3
"""stand_in_peer.py SOCKET INSTANCE MOMENT PROGRAM [ARG...]: connects to loopfsd, leaves the connection to a child, and executes
PROGRAM, which copies what it reads, as cat(1). The child then asks for all that loopfsd can do with devices 0 (a file system) and
1 (a partition) of INSTANCE, and prints a line for each method: its name, and "ok" or the name of the errno.

MOMENT: "later": PROGRAM is executed after a first call; "first": at once. Then there is a file "executed" in the current
folder before the first call is made. "ends": PROGRAM is not executed, the process ends, at once; "later-ends": after a first
call.
"""
import errno
import json
import os
import select
import signal
import socket
import sys


def call(connection, method, **parameters):
    try:
        connection.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
    except OSError as error:  # a service that closes at once may have said why
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            raise
    answer = b""
    while not answer.endswith(b"\0"):
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return {"error": "closed", "parameters": {"errno": errno.EPIPE}}
        answer += part
    return json.loads(answer[:-1])


def ask_all(connection, instance):
    def tell(method, wanted=None, **parameters):
        answer = call(connection, "io.loopfs.Manager." + method, **parameters)
        if "error" in answer:
            print(method, errno.errorcode.get(answer["parameters"].get("errno"), answer["error"]))
        else:
            print(method, "ok" if wanted is None or wanted(answer["parameters"]) else "nothing")

    tell("List", lambda answer: any(one["id"] == instance for one in answer["instances"]))
    tell("Limits")
    tell("SetLimit", kind="devices", uid=4711, limit=3)
    tell("Mount")
    tell("MountFilesystem", instance=instance, device=0, partition=0, type="ext4", options="", attributes=0)
    tell("EditPartition", instance=instance, device=1, operation=2, partition=1, start=0, length=0)
    tell("Ioctl", instance=instance, device=1, descriptor=0, command=0x125F)


def main():
    path, instance, moment, *program = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    if moment.startswith("later"):
        assert "error" not in call(connection, "org.varlink.service.GetInfo")
    here, there = os.pipe(), os.pipe()
    parent = os.pidfd_open(os.getpid())
    if os.fork() != 0:
        if moment.endswith("ends"):
            os._exit(0)
        connection.close()
        os.dup2(here[0], 0)
        os.dup2(there[1], 1)
        os.closerange(3, 256)
        os.execvp(program[0], program)
    signal.alarm(60)
    os.close(here[0])
    os.close(there[1])
    if moment.endswith("ends"):
        select.select([parent], [], [])
    else:
        os.write(here[1], b"x")
        assert os.read(there[0], 1) == b"x", "the program does not run"  # with its new rights, if it does
    open("executed", "w").close()
    ask_all(connection, int(instance))


main()
