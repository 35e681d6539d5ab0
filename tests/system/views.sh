#!/usr/bin/env bash
# /sys and /proc/partitions in the sandbox: the instance's devices, none of the host's loop devices, and all else
# as on the host; lsblk, losetup and sfdisk say the same.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require lsblk losetup sfdisk

host_loop=
cleanup() { [ -z "$host_loop" ] || losetup -d "$host_loop"; }
trap cleanup EXIT
if [ "$(id -u)" -eq 0 ]; then
  truncate -s 3M host.img
  host_loop=$(losetup -f --show host.img) # a device of the host, which must not show
fi
others() { find "$1" -mindepth 1 -maxdepth 1 ! -name 'loop*' -printf '%f\n' | sort | xargs; }
export -f others
host_block=$(others /sys/block)
host_class=$(others /sys/class/block)
export host_block host_class

truncate -s 32M a.img
printf 'label: gpt\nsize=8M, name=one\n' | sfdisk -q a.img

inside() {
  assert_eq "$(others /sys/block)" "$host_block" "other devices show as on the host"
  assert_eq "$(others /sys/class/block)" "$host_class"
  assert_eq "$(losetup -a)" ""
  assert_no_match "$(cat /proc/partitions)" "loop"

  losetup -o 0 -P /dev/loop0 a.img
  cd /sys/block/loop0
  assert_eq "$(cat loop/backing_file)" "$(realpath "$OLDPWD")/a.img"
  assert_eq "$(cat loop/offset loop/sizelimit loop/autoclear loop/partscan loop/dio | xargs)" "0 0 0 1 0"
  assert_eq "$(cat size ro)" "$(printf "65536\n0")"
  assert_eq "$(cat loop0p1/partition loop0p1/start loop0p1/size | xargs)" "1 2048 16384"
  assert_eq "$(cat dev)" "7:0"
  assert_eq "$(stat -Lc %t:%T /dev/loop0)" "7:0"
  # every path to a device leads to the same place
  [ /sys/dev/block/7:0 -ef /sys/block/loop0 ] || fail "/sys/dev/block differs"
  [ /sys/class/block/loop0 -ef /sys/block/loop0 ] || fail "/sys/class/block differs"
  [ -d "/sys/dev/block/$(cat loop0p1/dev)/" ] || fail "no /sys/dev/block of the partition"
  assert_eq "$(basename "$(readlink -f /sys/class/block/loop0p1)")" loop0p1
  assert_eq "$(basename "$(readlink -f subsystem)")" block
  assert_match "$(cat uevent)" "^DEVNAME=loop0"
  find . -type f -perm -u=r -exec cat {} + >/dev/null
  cd "$OLDPWD"

  assert_match "$(cat /proc/partitions)" "^ +7 +0 +32768 loop0\$"
  assert_match "$(cat /proc/partitions)" " 8192 loop0p1\$"
  assert_eq "$(lsblk -n -r -o NAME,SIZE,TYPE /dev/loop0 | xargs)" "loop0 32M loop loop0p1 8M part"
  assert_eq "$(lsblk -n -r -o NAME | grep -c "^loop")" 2 "lsblk shows this sandbox only"
  assert_match "$(sfdisk -l /dev/loop0)" "^/dev/loop0p1 +2048 +18431 +16384 +8M"
  assert_eq "$(losetup -n -l -O NAME,MAJ:MIN,PARTSCAN,LOG-SEC | xargs)" "/dev/loop0 7:0 1 512"

  losetup -d /dev/loop0
  [ ! -e /sys/block/loop0/loop ] || fail "loop/ of a free device"
  assert_no_match "$(cat /proc/partitions)" "loop"
}
in_sandbox inside
[ -z "$host_loop" ] || losetup "$host_loop" >/dev/null
