#!/usr/bin/env bash
# What sysfs, LOOP_GET_STATUS64 and the mount table show of devices, in sandboxes of both engines: the name that the backing file
# has now, its numbers as stat(2) shows them, counted I/O, a disk sequence number of a free device, and the sandbox's name of
# a mounted device.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup sfdisk mkfs.ext4 findmnt python3 fuse2fs

backing_file() { cat "/sys/block/${1#/dev/}/loop/backing_file"; }
sectors() { awk -v field="$2" '{ print $field }' "/sys/block/$1/stat"; }
inside() { # MOUNTED-BY
  local device again other
  truncate -s 32M a.img b.img
  losetup -r /dev/loop0 a.img
  assert_eq "$(backing_file loop0)" "$PWD/a.img"
  mv a.img c.img
  assert_eq "$(backing_file loop0)" "$PWD/c.img" "after a rename"
  assert_match "$(losetup -j c.img)" '^/dev/loop0:'
  rm c.img
  assert_eq "$(backing_file loop0)" "$PWD/c.img (deleted)"
  python3 -c 'import fcntl, os; fcntl.ioctl(os.open("/dev/loop0", os.O_RDONLY), 0x4C06, os.open("b.img", os.O_RDONLY))' # LOOP_CHANGE_FD
  assert_eq "$(backing_file loop0)" "$PWD/b.img" "after LOOP_CHANGE_FD"
  assert_match "$(losetup -j b.img)" '^/dev/loop0:'
  losetup -d /dev/loop0

  # A device that has the file is found, and used again.
  device=$(losetup --nooverlap -f --show b.img)
  again=$(losetup --nooverlap -f --show b.img)
  assert_eq "$again" "$device"
  # A device on a device.
  other=$(losetup -o 4096 -f --show "$device")
  assert_match "$(losetup -j "$device")" "^$other:"
  assert_eq "$(basename "$(backing_file "$other")")" "$(basename "$device")"
  losetup -d "$other"

  # I/O is counted, of a device and of its partition.
  losetup -d "$device"
  printf 'label: gpt\nsize=8M\n' | sfdisk -q b.img
  losetup -P /dev/loop0 b.img
  dd if=/dev/zero of=/dev/loop0p1 bs=64k count=4 oflag=direct status=none
  dd if=/dev/loop0 of=/dev/null bs=64k count=4 iflag=direct status=none
  [ "$(sectors loop0 7)" -ge 512 ] || fail "written to the device: $(cat /sys/block/loop0/stat)"
  [ "$(sectors loop0 3)" -ge 512 ] || fail "read of the device: $(cat /sys/block/loop0/stat)"
  [ "$(sectors loop0/loop0p1 7)" -ge 512 ] || fail "written to the partition: $(cat /sys/block/loop0/loop0p1/stat)"
  assert_eq "$(wc -w </sys/block/loop0/stat)" 17

  other=$(losetup -f)
  assert_match "$(cat "/sys/block/${other#/dev/}/uevent")" '^DISKSEQ=[1-9]'

  # What is mounted is found by the device's name.
  mkfs.ext4 -q /dev/loop0p1
  mkdir m
  mount /dev/loop0p1 m
  assert_match "$(findmnt -n -o FSTYPE m)" "^$1\$"
  assert_eq "$(findmnt -n -o SOURCE m)" /dev/loop0p1
  assert_eq "$(findmnt -n -o TARGET -S /dev/loop0p1)" "$PWD/m"
  umount /dev/loop0p1
  losetup -d /dev/loop0
  mkfs.ext4 -qF b.img
  mount -o loop b.img m
  device=$(findmnt -n -o SOURCE m)
  umount "$device"
  wait_for 5 nothing_bound
}

work() { # NAME MOUNTED-BY OPTION...
  local name=$1 by=$2
  shift 2
  install -d -o nobody "$name"
  # shellcheck disable=SC2016 # for the inner shell
  timeout --kill-after=5 180 setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups env -C "$name" HOME="$PWD/$name" \
    "$LOOPFS" run "$@" -- bash -c '. "$0"; eval "$1"; inside "$2"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$by"
}
chmod 0755 .
work user fuse.loop.ext4
start_daemon 231000
work fuse fuse.loop.ext4 --engine kernel --socket "$SOCKET"
end_daemon
printf '[mount]\ndefault = "kernel"\n' >config.toml
start_daemon 232000 config.toml
work kernel ext4 --engine kernel --socket "$SOCKET"
