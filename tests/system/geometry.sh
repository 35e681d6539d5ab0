#!/usr/bin/env bash
# Of a partition HDIO_GETGEO tells where it starts, and nothing of heads and sectors that mkfs.fat would write down.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require sfdisk losetup mkfs.vfat python3

truncate -s 100M disk.img
printf 'label: gpt\nsize=64M,type=U\ntype=L\n' | sfdisk -q disk.img

partitions() {
  losetup -P /dev/loop0 disk.img
  # Sectors of a track and heads, as mkfs.fat chooses them where it is told nothing.
  truncate -s 64M file.img
  mkfs.vfat file.img >/dev/null
  mkfs.vfat /dev/loop0p1 >/dev/null
  assert_eq "$(od -An -tu2 -j24 -N4 /dev/loop0p1)" "$(od -An -tu2 -j24 -N4 file.img)"
  python3 - <<'P'
import errno, fcntl, os, struct
HDIO_GETGEO = 0x0301
geometry = fcntl.ioctl(os.open('/dev/loop0p2', os.O_RDONLY), HDIO_GETGEO, bytes(16))
assert struct.unpack('BBHxxxxQ', geometry) == (0, 0, 0, 2048 + (64 << 11)), geometry
try:
    fcntl.ioctl(os.open('/dev/loop0', os.O_RDONLY), HDIO_GETGEO, bytes(16))
    raise SystemExit('a whole device has a geometry')
except OSError as error:
    assert error.errno == errno.ENOTTY, error
P
  losetup -d /dev/loop0
}
in_sandbox partitions
