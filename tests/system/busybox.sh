#!/usr/bin/env bash
# busybox's own losetup and mount, which use the loop ioctls in another order than util-linux does.
. "$(dirname "$0")/lib.sh"
require busybox mkfs.ext4 fuse2fs

truncate -s 16M a.img
mkfs.ext4 -q a.img
mkdir m

inside() {
  assert_eq "$(busybox losetup -f)" /dev/loop0
  busybox losetup -o 1048576 /dev/loop0 a.img
  assert_match "$(busybox losetup -a)" "^/dev/loop0: 1048576 .*a\.img"
  assert_eq "$(busybox blockdev --getsize64 /dev/loop0)" 15728640
  busybox losetup -d /dev/loop0
  assert_eq "$(busybox losetup -a)" ""
  busybox losetup -f a.img
  assert_match "$(losetup -a)" "^/dev/loop0: .*a\.img"
  busybox losetup -r /dev/loop1 a.img
  assert_eq "$(blockdev --getro /dev/loop1)" 1
  busybox losetup -d /dev/loop0
  busybox losetup -d /dev/loop1
  busybox mount -t ext4 -o loop a.img m
  echo hello >m/file
  busybox umount m
  busybox losetup -d /dev/loop0 2>/dev/null || true  # older busybox leaves it bound
  assert_eq "$(losetup -a)" ""
}
in_sandbox inside
e2fsck -fn a.img >/dev/null
assert_eq "$(debugfs -R 'cat /file' a.img 2>/dev/null)" hello
