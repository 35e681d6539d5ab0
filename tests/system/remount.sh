#!/usr/bin/env bash
# mount(8) as people call it: without a type, with the type of another file system, remounted both ways, twice, lazily
# unmounted; without -i, so that its helper programs (mount.fuse) have their chance to interfere.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs mkfs.xfs findmnt

inside() {
  losetup /dev/loop0 a.img
  mount -o ro /dev/loop0 m
  assert_status 1 touch m/x
  assert_match "$output" "Read-only file system"
  mount -o remount,rw m
  touch m/x
  mount -o remount,ro m
  assert_status 1 touch m/y
  assert_match "$output" "Read-only file system"
  assert_eq "$(findmnt -n -o SOURCE m)" /dev/loop0

  umount m

  # the same device at two places: the same files
  mount /dev/loop0 m
  mount /dev/loop0 n
  touch m/z
  [ -e n/z ] || fail "the second mount shows something else"
  umount n m

  # lazily, with a file open: the device is free when that is closed
  mount /dev/loop0 m
  exec 9<m/x
  umount -l m
  exec 9<&-
  losetup -d /dev/loop0
  wait_for 10 nothing_bound

  # nothing that anybody recognises, a wrong type, and a file system without a program
  assert_status 32 mount -o loop noise.img m
  assert_match "$output" "wrong fs type"
  assert_no_match "$output" "loopfs:"
  assert_status 32 mount -o loop -t squashfs a.img m
  assert_match "$output" "wrong fs type"
  assert_status 32 mount -o loop x.img m
  assert_match "$output" "permission denied"
  assert_status 32 mount -o loop nowhere.img m
  wait_for 10 nothing_bound
}
mkdir m n
head -c 4M /dev/urandom >noise.img
truncate -s 16M a.img
mkfs.ext4 -q a.img
mkfs.xfs -q -d name=x.img,file,size=300m
in_sandbox inside 2>message || { cat message; exit 1; }
assert_match "$(cat message)" "^loopfs: mount /dev/loop0: no FUSE program is known for xfs"
e2fsck -fn a.img
