#!/usr/bin/env bash
# An image that lies in a file system that is itself mounted from a loop device: it belongs to a FUSE mount of the
# sandbox's own, which lets nobody from outside of the sandbox open or stat its files.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup mkfs.ext4 fuse2fs mksquashfs squashfuse sfdisk

inside() {
  mkdir tree outer inner
  head -c 300K /dev/urandom >tree/data
  mksquashfs tree tree.sq -quiet -no-progress -no-recovery >/dev/null
  truncate -s 100M outer.img
  mkfs.ext4 -q -F outer.img
  mount -o loop outer.img outer

  # a file system in a file system
  cp tree.sq outer/
  mount -o loop outer/tree.sq inner
  cmp tree/data inner/data
  umount inner

  # what losetup and stat say of it is the same; every byte is
  head -c 1M /dev/urandom >outer/raw.img
  losetup /dev/loop5 outer/raw.img
  assert_eq "$(losetup -j outer/raw.img -n -O NAME | xargs)" /dev/loop5
  assert_eq "$(losetup -n -O BACK-FILE -l /dev/loop5)" "$PWD/outer/raw.img"
  cmp /dev/loop5 outer/raw.img
  head -c 4096 /dev/urandom >block
  dd if=block of=/dev/loop5 bs=4096 seek=7 conv=notrunc,fsync status=none
  cmp -n 4096 -i 0:28672 block outer/raw.img
  truncate -s 2M outer/raw.img
  losetup -c /dev/loop5
  assert_eq "$(blockdev --getsize64 /dev/loop5)" 2097152
  losetup -d /dev/loop5
  assert_status 1 losetup /dev/loop5 outer

  # its partitions, the chain of logical ones included, and one of GPT
  truncate -s 64M outer/parts.img
  printf '%s\n' 'label: dos' 'unit: sectors' '1: size=16384' '2: size=81920, type=5' '5: size=16384' \
    '6: size=16384' | sfdisk -q outer/parts.img
  losetup -P /dev/loop5 outer/parts.img
  assert_eq "$(lsblk -n -r -o NAME,SIZE /dev/loop5 | xargs)" \
    "loop5 64M loop5p1 8M loop5p2 1K loop5p5 8M loop5p6 8M"
  printf 'label: gpt\nsize=4M, name=a\nsize=8M, name=b\n' | sfdisk -q /dev/loop5
  assert_eq "$(lsblk -n -r -o NAME,SIZE /dev/loop5 | xargs)" "loop5 64M loop5p1 4M loop5p2 8M"
  mkfs.ext4 -q /dev/loop5p2
  mount /dev/loop5p2 inner
  cp tree/data inner/
  umount inner
  e2fsck -fn /dev/loop5p2 >/dev/null
  losetup -d /dev/loop5

  umount outer
  assert_eq "$(losetup -a)" ""
  e2fsck -fn outer.img >/dev/null
}
in_sandbox inside
