#!/usr/bin/env bash
# Nodes of a sandbox are block devices by their names, which are those of the kernel, and once they are opened.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"

require python3 sfdisk mkswap mkfs.minix mkfs.vfat mkfs.btrfs blkdiscard parted qemu-img

descriptors() {
  local node
  for node in /dev/loop0 /dev/loop0p1 /dev/loop5; do
    [ "$node" = /dev/loop5 ] || losetup -P /dev/loop0 disk.img 2>/dev/null || true
    timeout 60 python3 "$HELPERS/block_nodes.py" "$node" || fail "$node"
  done
  losetup -d /dev/loop0
}

canonical() {
  losetup -P /dev/loop0 disk.img
  local name
  for name in loop-control loop0 loop0p1; do
    assert_eq "$(readlink -f "/dev/$name")" "/dev/$name"
    [ ! -L "/dev/$name" ] || fail "/dev/$name is a link"
  done
  mkfs.ext4 -q -L canonical /dev/loop0p1
  assert_eq "$(findfs LABEL=canonical)" /dev/loop0p1
  assert_eq "$(blkid -L canonical)" /dev/loop0p1
  assert_eq "$(lsblk -n -o PARTUUID /dev/loop0p1)" "$(blkid -p -s PART_ENTRY_UUID -o value /dev/loop0p1)"
  assert_match "$(parted -s /dev/loop0 print)" 'Disk /dev/loop0'
  losetup -d /dev/loop0
}

# 4096-byte sectors: what tools write is right only if they see a block device, and ask it.
sectors() {
  truncate -s 300M sectors.img
  losetup -P -b 4096 /dev/loop0 sectors.img
  printf 'label: gpt\n,100M\n,\n' | sfdisk -q /dev/loop0
  assert_eq "$(head -c 4104 sectors.img | tail -c 8)" "EFI PART" # in the second sector
  mkfs.vfat /dev/loop0p1 >/dev/null
  assert_eq "$(od -A n -t u2 -j 11 -N 2 /dev/loop0p1 | xargs)" 4096
  mkfs.btrfs -q -f /dev/loop0p2 >/dev/null 2>&1
  assert_eq "$(blkid -p -s TYPE -o value /dev/loop0p2)" btrfs
  blkdiscard -f /dev/loop0p2 2>/dev/null
  assert_eq "$(od -A n -t x8 -j 65600 -N 8 /dev/loop0p2 | xargs)" 0000000000000000
  losetup -d /dev/loop0
}

programs() {
  truncate -s 16M small.img
  losetup /dev/loop0 small.img
  mkswap /dev/loop0 >/dev/null
  swaplabel -L ours /dev/loop0
  mkfs.minix /dev/loop0 >/dev/null
  assert_match "$(qemu-img info /dev/loop0)" 'virtual size: 16 MiB'
  qemu-img convert -n -f raw -O raw disk.img /dev/loop1 2>/dev/null && fail "written to a free device"
  losetup -d /dev/loop0
}

truncate -s 64M disk.img
printf 'label: gpt\n,32M\n' | sfdisk -q disk.img
export HELPERS=$TEST_FOLDER/tests/system/helpers
in_sandbox descriptors
in_sandbox canonical
in_sandbox sectors
in_sandbox programs
