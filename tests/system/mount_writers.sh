#!/usr/bin/env bash
# A device that a FUSE program serves and writes to is not opened for writing by others: what e2label wrote beside fuse2fs left
# an image that no kernel mounts, and all had said 0. Reading, the rest of the disk, and a read-only mount are as ever.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs e2label sfdisk

truncate -s 32M fs.img disk.img
mkfs.ext4 -q -L OLD fs.img
printf 'label: dos\nsize=16M\n,\n' | sfdisk -q disk.img
mkdir d e

inside() {
  losetup /dev/loop0 fs.img
  exec 8<>/dev/loop0 # as losetup and others that came before
  mount /dev/loop0 d
  exec 8>&-
  echo one >d/one
  assert_status 1 e2label /dev/loop0 NEW
  assert_match "$output" "busy"
  assert_status 1 dd if=/dev/zero of=/dev/loop0 count=1 conv=notrunc
  assert_match "$output" "busy"
  assert_eq "$(e2label /dev/loop0)" OLD
  mount /dev/loop0 e
  mount -o loop fs.img "$PWD/d/lost+found" # the same device again
  umount "$PWD/d/lost+found" e d
  e2label /dev/loop0 NEW
  mount -o ro /dev/loop0 d
  : 9<>/dev/loop0
  mount -o remount,rw d
  assert_status 1 e2label /dev/loop0 OLD
  umount d
  assert_eq "$(e2label /dev/loop0)" NEW
  losetup -d /dev/loop0

  losetup -P /dev/loop0 disk.img
  mkfs.ext4 -q -F /dev/loop0p1
  mount /dev/loop0p1 d
  echo boot | dd of=/dev/loop0 conv=notrunc status=none # grub-install writes before the first partition
  : 9<>/dev/loop0p2
  assert_status 1 e2label /dev/loop0p1 NEW
  umount d
  losetup -d /dev/loop0
}
in_sandbox inside
e2fsck -fn fs.img
assert_eq "$(head -c 4 disk.img)" boot
