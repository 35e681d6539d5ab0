#!/usr/bin/env bash
# Each file system of the built-in table, on a whole device and on a partition: mounted by mount(8), read, written where
# that is possible, unmounted, and the image is right afterwards.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 mkfs.vfat mkfs.exfat mkntfs mksquashfs genisoimage sfdisk fuse2fs fusefat mount.exfat-fuse ntfs-3g \
  squashfuse_ll fuseiso

mkdir m files
head -c 300000 /dev/urandom >files/data

# try DEVICE TYPE w|r [OPTION...]: writes (w), reads back, and reads again from a read-only mount
try() {
  local device=$1 type=$2 writable=$3
  shift 3
  mount "$@" "$device" m
  assert_match "$(findmnt -n -o SOURCE,FSTYPE m)" "^/dev/${device##*/} +fuse\.loop\.($type|fuseblk)"
  if [ "$writable" = w ]; then
    cp files/data m/data
    mkdir m/folder
    cp files/data m/folder/again
  fi
  cmp files/data m/data
  umount m
  mount "$@" -o ro "$device" m
  cmp files/data m/data
  if [ "$writable" = w ]; then cmp files/data m/folder/again; fi
  ! touch m/no 2>/dev/null || fail "$type is writable in spite of ro"
  umount m
}

inside() {
  local type options
  for type in ext4 vfat exfat ntfs; do
    options=(-t "$type")
    # mount(8) starts mount.ntfs itself, which wants to drop its groups: not possible with a single id.
    if [ "$type" = ntfs ] && grep -q deny /proc/self/setgroups; then options+=(-i); fi
    losetup /dev/loop0 $type.img
    try /dev/loop0 $type w "${options[@]}"
    losetup -d /dev/loop0
  done
  for type in squashfs iso9660; do
    losetup /dev/loop0 $type.img
    try /dev/loop0 $type r
    losetup -d /dev/loop0
  done
  # an offset: the second of two partitions, so that what lies beyond both ends must stay as it is
  for type in ext4 vfat ntfs; do
    losetup -P /dev/loop0 disk.img
    case $type in
      ext4) mkfs.ext4 -q -F /dev/loop0p2 ;;
      vfat) mkfs.vfat /dev/loop0p2 ;;
      ntfs) mkntfs -q -F -Q /dev/loop0p2 2>/dev/null ;;
    esac
    options=(-t "$type")
    if [ "$type" = ntfs ]; then options+=(-i); fi
    try /dev/loop0p2 $type w "${options[@]}"
    losetup -d /dev/loop0
  done
  wait_for 10 nothing_bound
}

truncate -s 48M ext4.img vfat.img exfat.img ntfs.img
mkfs.ext4 -q ext4.img
mkfs.vfat vfat.img
mkfs.exfat exfat.img
mkntfs -q -F ntfs.img 2>/dev/null
mksquashfs files squashfs.img -quiet -no-progress
genisoimage -quiet -R -o iso9660.img files
truncate -s 96M disk.img
printf 'label: gpt\nsize=16M\nsize=48M\nsize=8M\n' | sfdisk -q disk.img
edges() { { head -c 17M disk.img; tail -c 31M disk.img; } | sha256sum; }
before=$(edges)
in_sandbox inside
assert_eq "$(edges)" "$before" "bytes outside of the partition"
e2fsck -fn ext4.img
fsck.vfat -n vfat.img
fsck.exfat -n exfat.img
