#!/usr/bin/env python3
"""daemon_descriptors.py INSTANCE IMAGE STOP ROUNDS: uses descriptors that were opened before what they are used for, until
there is a file STOP; a line of ROUNDS for each round.

They are of loop-control, of a device that stays free, and of a device that was free and is bound by the descriptor; that
one autoclear, so that nothing but the descriptor keeps it bound.
"""
import fcntl
import os
import struct
import sys

LOOP_CLR_FD, LOOP_GET_STATUS64, LOOP_CONFIGURE = 0x4C01, 0x4C05, 0x4C0A
LOOP_CTL_ADD, LOOP_CTL_GET_FREE, BLKGETSIZE64, AUTOCLEAR = 0x4C80, 0x4C82, 0x80081272, 4
PIECE = 65536


def size(fd):
    return struct.unpack("Q", fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0]


def main():
    instance, image, stop, rounds = sys.argv[1:5]
    control = os.open(f"{instance}/loop-control", os.O_RDWR)
    for number in (6, 7):
        fcntl.ioctl(control, LOOP_CTL_ADD, number)
    free = os.open(f"{instance}/loop6", os.O_RDWR)
    bound = os.open(f"{instance}/loop7", os.O_RDWR)
    with open(image, "r+b") as file:
        length = os.fstat(file.fileno()).st_size
        fcntl.ioctl(bound, LOOP_CONFIGURE,
                    struct.pack("II", file.fileno(), 0) + bytes(52) + struct.pack("I", AUTOCLEAR) + bytes(304 - 64))
    count = 0
    with open(rounds, "a", buffering=1) as log:
        while not os.path.exists(stop):
            count += 1
            fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            assert size(free) == 0, size(free)
            assert size(bound) == length, size(bound)
            data = bytes([count % 251]) * PIECE
            offset = count * PIECE % length
            assert os.pwrite(bound, data, offset) == PIECE
            if count % 16 == 0:
                os.fsync(bound)
            assert os.pread(bound, PIECE, offset) == data
            status = fcntl.ioctl(bound, LOOP_GET_STATUS64, bytes(232))
            assert struct.unpack_from("I", status, 40)[0] == 7, status  # lo_number
            log.write(".\n")
        # The free one can still be bound by its descriptor.
        with open(image, "r+b") as file:
            fcntl.ioctl(free, LOOP_CONFIGURE, struct.pack("II", file.fileno(), 0) + bytes(296))
        assert size(free) == length
        fcntl.ioctl(free, LOOP_CLR_FD)


if __name__ == "__main__":
    main()
