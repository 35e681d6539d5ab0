#!/usr/bin/env bash
# mkfs.xfs, mkfs.btrfs, mkfs.vfat with their checkers, on a device; what they wrote is right from outside too.
. "$(dirname "$0")/lib.sh"
require mkfs.xfs xfs_repair mkfs.btrfs btrfs mkfs.vfat fsck.vfat blkid

truncate -s 512M a.img
inside() {
  for type in xfs btrfs vfat; do
    losetup /dev/loop0 a.img
    case $type in
      xfs) mkfs.xfs -q -f /dev/loop0; xfs_repair -n /dev/loop0 ;;
      btrfs) mkfs.btrfs -q -f /dev/loop0; btrfs check --readonly /dev/loop0 ;;
      vfat) wipefs -q -a /dev/loop0; mkfs.vfat -F 32 /dev/loop0; fsck.vfat -n /dev/loop0 ;;
    esac
    assert_eq "$(blkid -p -o value -s TYPE /dev/loop0)" $type
    losetup -d /dev/loop0
    assert_eq "$(blkid -p -o value -s TYPE a.img)" $type "seen from outside of the device"
  done
}
in_sandbox inside
fsck.vfat -n a.img
