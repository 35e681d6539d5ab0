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

# What was asked for at first holds for the program that a remount starts, and a mount tells what the superblock is now.
kept() {
  truncate -s 32M kept.img
  mkfs.vfat kept.img >/dev/null
  losetup /dev/loop0 kept.img
  mount -o umask=077 /dev/loop0 d
  echo data >d/file
  assert_eq "$(stat -c %a d/file)" 700
  umount d
  mount -o ro,umask=022 /dev/loop0 d
  assert_eq "$(stat -c %a d/file)" 755
  mount -i -o remount,rw d
  assert_eq "$(stat -c %a d/file)" 755
  echo more >d/other
  mount -i -o remount,ro d
  assert_status 0 mount -o rw /dev/loop0 e # as of a kernel loop device: mount(8) sees that it is mounted read-only
  assert_match "$(findmnt -n -o OPTIONS e)" '^ro'
  umount e
  mount -o ro /dev/loop0 e
  assert_eq "$(cat e/file e/other | xargs)" "data more"
  umount d e
  losetup -d /dev/loop0
}

# fusefat frees what it then writes to, if it is told of O_TRUNC in the usual way.
overwritten() {
  truncate -s 32M over.img
  mkfs.vfat over.img >/dev/null
  mount -o loop over.img d
  for _ in 1 2 3; do
    head -c 100K /dev/urandom >data
    cp data d/same
    cmp data d/same
    cp data d/new && mv d/new d/renamed
  done
  echo short >d/same
  umount d
  fsck.vfat -n over.img >fsck.out || fail "$(cat fsck.out)"
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

for part in second written_out not_writable_in_use kept overwritten larger_than_its_device; do in_sandbox "$part"; done
