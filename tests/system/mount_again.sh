#!/usr/bin/env bash
# Second mounts and remounts: attributes of their own, what is refused, what is written out; a file system that is
# larger than its device does not make the image grow.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs e2fsck debugfs findmnt mkfs.vfat fusefat

truncate -s 16M fs.img
mkfs.ext4 -q fs.img
mkdir d e

options() { findmnt -n -o VFS-OPTIONS -M "$1"; }

second() {
  losetup /dev/loop0 fs.img
  mount -o nosuid,noatime /dev/loop0 d
  mount -o nodev,noexec /dev/loop0 e
  assert_eq "$(options d)" rw,nosuid,noatime
  assert_eq "$(options e)" rw,nodev,noexec,relatime
  assert_status 32 mount -o ro /dev/loop0 e # one superblock is not both
  assert_match "$output" 'already mounted|busy'
  umount d e
  # A writable one takes the place of a read-only one only where that is its one mount.
  mount -o ro /dev/loop0 d
  mount -o ro /dev/loop0 e
  assert_status 32 mount -o remount,rw d
  assert_match "$output" busy
  umount e
  exec {open}<d
  assert_status 32 mount -o remount,rw d # in use
  exec {open}<&-
  mount -o remount,rw d
  echo written >d/file
  umount d
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}

written_out() {
  mount -o loop fs.img d
  echo written >d/file
  mkdir d/folder # fuse2fs keeps this to itself
  mount -o remount,ro d
  cp fs.img copy.img
  e2fsck -fn copy.img >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"
  assert_match "$(debugfs -R 'ls -p /' copy.img 2>/dev/null)" '/folder/'
  umount d
}

not_writable_in_use() {
  mount -o loop fs.img d
  exec {open}>d/open
  assert_status 32 mount -o remount,ro d
  assert_match "$output" busy
  exec {open}>&-
  mount -o remount,ro d
  assert_status 1 touch d/other
  umount d
}

larger_than_its_device() {
  truncate -s 32M fat.img
  mkfs.vfat fat.img >/dev/null
  truncate -s 2M fat.img
  mount -o loop fat.img d
  head -c 8M /dev/zero >d/big 2>/dev/null || true
  umount d
  assert_eq "$(stat -c %s fat.img)" $((2 << 20))
  # the kernel's ext4 refuses such an image altogether
  cp fs.img short.img
  truncate -s 8M short.img
  assert_status 32 mount -t ext4 -o loop short.img d
  assert_match "$output" 'wrong fs type|bad superblock'
  assert_eq "$(losetup -a)" ""
}

for part in second written_out not_writable_in_use larger_than_its_device; do in_sandbox "$part"; done
