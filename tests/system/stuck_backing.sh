#!/usr/bin/env bash
# A device whose backing file does not answer, because its FUSE program is stopped, holds up nobody but its own users.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs losetup dd mountpoint

inside() {
  local server device jobs=()
  truncate -s 96M below.img
  mkfs.ext4 -q below.img
  mkdir below
  fuse2fs -f below.img below &
  server=$!
  wait_for 10 mountpoint -q below
  truncate -s 64M below/stuck.img
  truncate -s 1M healthy.img
  losetup /dev/loop0 below/stuck.img
  device=$(losetup --find --show healthy.img)
  kill -STOP $server
  for ((i = 1; i <= 40; i++)); do
    dd if=/dev/loop0 of=/dev/null bs=4k count=1 skip=$((i * 256)) iflag=direct status=none &
    jobs+=($!)
  done
  for _ in 1 2 3; do timeout 20 dd if="$device" of=/dev/null bs=4k count=16 iflag=direct status=none; done
  kill -0 "${jobs[@]}" # they all wait
  kill -CONT $server
  wait "${jobs[@]}"
  losetup -d /dev/loop0
  losetup -d "$device"
  umount below
  wait $server
}
in_sandbox inside
