#!/usr/bin/env python3
"""device_opener.py FIRST SECONDS READY: as udevd does, opens each new kernel loop device with a number from FIRST on as soon as
the kernel tells of it, or of a change of it, and closes it SECONDS later ("-": never). Makes the file READY when it hears.

Writes a line to standard output for each open.
"""
import os
import re
import select
import socket
import sys
import time


def main():
    first, ready = int(sys.argv[1]), sys.argv[3]
    hold = None if sys.argv[2] == "-" else float(sys.argv[2])
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)  # NETLINK_KOBJECT_UEVENT
    events.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)  # SO_RCVBUFFORCE
    events.bind((0, 1))
    open(ready, "w").close()
    kept = []  # (when it is closed, descriptor)
    while True:
        wait = max(0, kept[0][0] - time.monotonic()) if kept and hold is not None else None
        if select.select([events], [], [], wait)[0]:
            head = events.recv(65536).split(b"\0", 1)[0].decode()
            found = re.match(r"(add|change)@.*/block/loop(\d+)$", head)
            if found and int(found[2]) >= first:
                try:
                    kept.append((time.monotonic() + (hold or 0), os.open(f"/dev/loop{found[2]}", os.O_RDONLY | os.O_NONBLOCK)))
                    print(f"opened loop{found[2]}", flush=True)
                except OSError as error:
                    print(f"loop{found[2]}: {error.strerror}", flush=True)
        while hold is not None and kept and kept[0][0] <= time.monotonic():
            os.close(kept.pop(0)[1])


if __name__ == "__main__":
    main()
