#!/usr/bin/env bash
# A device of the host that is mounted is in the sandbox's mount table: its number is given out to nobody there.
# run-as: root
. "$(dirname "$0")/lib.sh"

kernel_has ext4 || unavailable "ext4"
truncate -s 16M host.img own.img
mkfs.ext4 -q host.img
device=$(losetup -f --show host.img)
mkdir m d
finish() {
  umount "$PWD/m" 2>/dev/null || true
  losetup -d "$device" 2>/dev/null || true
}
trap finish EXIT
mount "$device" m
export DEVICE=$device

inside() {
  [ ! -e "$DEVICE" ] || fail "$DEVICE is given out"
  local own
  own=$(losetup -f --show own.img)
  [ "$own" != "$DEVICE" ] || fail "the host's number"
  mkfs.ext4 -q "$own" # refuses what is mounted
  mount "$own" d
  umount "$own"
  mountpoint -q m || fail "the host's mount is gone"
  # as a number that is in use
  perl -e 'sysopen(my $c, "/dev/loop-control", 2); exit(defined ioctl($c, 0x4C80, $ARGV[0] + 0) ? 0 : $!)' \
    "${DEVICE#/dev/loop}" && fail "added"
  [ $? = 17 ] || fail "not EEXIST"
}
in_sandbox inside
