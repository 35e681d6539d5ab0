#!/usr/bin/env bash
# udevadm, and systemd-dissect where it is installed, take what /sys shows in a sandbox; mkfs.fat finds no more of heads and
# sectors than on a kernel's loop device.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require udevadm sfdisk losetup mkfs.vfat mkfs.ext4 python3

truncate -s 100M disk.img
printf 'label: gpt\nsize=64M,type=U\ntype=L\n' | sfdisk -q disk.img

devices() {
  losetup -P /dev/loop0 disk.img
  assert_eq "$(udevadm info -q path /dev/loop0)" /devices/virtual/block/loop0
  assert_eq "$(udevadm info -q name -p /sys/class/block/loop0p2)" loop0p2
  assert_match "$(udevadm info -q property /dev/loop0p1)" 'DEVNAME=/dev/loop0p1'

  # Sectors of a track and heads, as mkfs.fat chooses them where it is told nothing.
  truncate -s 64M file.img
  mkfs.vfat file.img >/dev/null
  mkfs.vfat /dev/loop0p1 >/dev/null
  assert_eq "$(od -An -tu2 -j24 -N4 /dev/loop0p1)" "$(od -An -tu2 -j24 -N4 file.img)"
  python3 - <<'P'
import fcntl, os, struct
geometry = fcntl.ioctl(os.open('/dev/loop0p2', os.O_RDONLY), 0x0301, bytes(16))  # HDIO_GETGEO
assert struct.unpack('BBHxxxxQ', geometry) == (0, 0, 0, 2048 + (64 << 11)), geometry
P

  mkfs.ext4 -q /dev/loop0p2
  if command -v systemd-dissect >/dev/null; then
    assert_match "$(systemd-dissect --no-pager /dev/loop0)" 'ext4 .* /dev/loop0p2 '
  else
    echo "no systemd-dissect: left out"
  fi
  losetup -d /dev/loop0
}
in_sandbox devices
