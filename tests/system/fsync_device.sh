#!/usr/bin/env bash
# What was written to a device and synchronised is in the backing file when loopfs is killed at once, and the
# backing file was synchronised before the answer.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup blockdev dd python3

export block=$((256 * 1024))
truncate -s 4M disk.img
head -c $((8 * block)) /dev/urandom >random
mkfifo go

# Each way to synchronise writes its own block of `random`.
inside() {
  losetup /dev/loop0 disk.img
  device=/dev/loop0
  piece() { dd if=random iflag=fullblock bs="$block" skip="$1" seek="$1" count=1 status=none "${@:2}"; }
  piece 0 of=$device conv=notrunc,fsync
  piece 1 of=$device conv=notrunc,fdatasync
  piece 2 of=$device conv=notrunc oflag=dsync
  piece 3 of=$device conv=notrunc oflag=direct,sync
  piece 4 of=$device conv=notrunc && blockdev --flushbufs $device
  piece 5 of=$device conv=notrunc && sync $device
  python3 - "$device" random $((6 * block)) "$block" <<'END'
import mmap, sys
device, source, offset, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = open(source, "rb").read()[offset:offset + size]
with open(device, "r+b", buffering=0) as file:
    with mmap.mmap(file.fileno(), size, offset=offset) as memory:
        memory[:] = data
        memory.flush()  # msync(MS_SYNC)
END
  piece 7 of=$device conv=notrunc oflag=direct && sync -d $device
  touch ready
  read -r _ <go
}

# For strace: one fsync(2).
marked() {
  losetup /dev/loop0 disk.img
  dd if=random of=/dev/loop0 bs=4096 count=1 conv=notrunc,fsync status=none
  losetup -d /dev/loop0
}

# shellcheck disable=SC2016 # for the inner shell
inner=(bash -c '. "$0"; eval "$1"; shift; "$@"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)")
"$LOOPFS" run -- "${inner[@]}" inside &
pid=$!
wait_for 30 test -e ready
kill -KILL $pid
wait $pid || true
cmp -n $((8 * block)) random disk.img

# Before the answer: the server's fsync(2) lies within dd's.
[ "$(id -u)" -eq 0 ] && command -v strace >/dev/null || exit 0
assert_status 0 timeout --kill-after=5 60 strace -f -y -o trace -e trace=fsync,fdatasync "$LOOPFS" run -- "${inner[@]}" marked
# dd's call is entered, the server's call on the file begins and ends, dd's call returns.
awk '/fsync\(1<\/dev\/loop/ {asked = 1}
     asked && /f(data)?sync\([0-9]+<[^>]*disk\.img>/ {served = 1}
     served && /(fsync resumed>|fsync\(1<.*)\) *= 0/ {print "in order"; exit}' trace >order
assert_eq "$(cat order)" "in order" "$(cat trace)"
