#!/usr/bin/env bash
# GRUB finds its way from a mounted image to its device, and installs itself where the firmware looks.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"

require grub-probe grub-install sfdisk fuse2fs

bootable() {
  losetup -P /dev/loop0 disk.img
  mkfs.ext4 -q /dev/loop0p2
  mkdir m
  mount /dev/loop0p2 m
  mkdir -p m/boot/grub
  local uuid
  uuid=$(blkid -p -s UUID -o value /dev/loop0p2)
  assert_eq "$(grub-probe --target=device m/boot/grub)" /dev/loop0p2
  assert_eq "$(grub-probe --target=fs_uuid m/boot)" "$uuid"
  assert_eq "$(grub-probe --target=fs_uuid -d /dev/loop0p2)" "$uuid"
  assert_eq "$(grub-probe --target=partmap m/boot)" gpt
  assert_eq "$(grub-probe --target=drive -d /dev/loop0p2)" "(hostdisk//dev/loop0,gpt2)"
  grub-install --target=i386-pc --boot-directory="$PWD/m/boot" --modules="part_gpt ext2" --no-floppy /dev/loop0 2>out ||
    fail "$(cat out)"
  assert_match "$(cat out)" 'No error reported'
  umount m
  losetup -d /dev/loop0
}

truncate -s 200M disk.img
printf 'label: gpt\n,1M,21686148-6449-6E6F-744E-656564454649\n,,L\n' | sfdisk -q disk.img
in_sandbox bootable
# Its first stage loads what is in the BIOS boot partition, and that has the prefix by UUID.
grep -qa GRUB <(head -c 512 disk.img) || fail "no boot sector"
assert_eq "$(dd if=disk.img bs=1 skip=92 count=4 status=none | od -A n -t u4 | xargs)" 2048 "sector of the core image"
[ "$(dd if=disk.img bs=512 skip=2048 count=100 status=none | tr -d '\0' | wc -c)" -gt 10000 ] || fail "no core image"
