#!/usr/bin/env bash
# e2fsprogs on a device: mkfs.ext{2,3,4}, e2fsck, resize2fs, tune2fs, blkid; the image is checked from outside.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 e2fsck resize2fs tune2fs blkid

truncate -s 64M a.img
inside() {
  for type in ext2 ext3 ext4; do
    losetup /dev/loop0 a.img
    mkfs.$type -q -F -L "label-$type" /dev/loop0
    e2fsck -fn /dev/loop0
    assert_eq "$(blkid -p -o value -s TYPE /dev/loop0)" $type
    assert_eq "$(blkid -p -o value -s LABEL /dev/loop0)" label-$type
    losetup -d /dev/loop0
    e2fsck -fn a.img
  done
  truncate -s 96M a.img
  losetup /dev/loop0 a.img
  resize2fs /dev/loop0
  tune2fs -L grown /dev/loop0
  e2fsck -fn /dev/loop0
  resize2fs -M /dev/loop0
  e2fsck -fn /dev/loop0
  # blocks of 4096 need a device with sectors that small
  losetup -d /dev/loop0
  losetup --sector-size 4096 /dev/loop0 a.img
  mkfs.ext4 -q -F /dev/loop0
  assert_match "$(dumpe2fs -h /dev/loop0 2>&1)" "Block size: +4096"
  e2fsck -fn /dev/loop0
}
in_sandbox inside
e2fsck -fn a.img
