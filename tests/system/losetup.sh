#!/usr/bin/env bash
# Every option of losetup that the man page loopfs(1) promises, with the unmodified program.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup blockdev

truncate -s 8M a.img
truncate -s 4M b.img
head -c 4M /dev/urandom >c.img

inside() {
  assert_eq "$(losetup -a)" "" "a new instance has nothing bound"

  # -f, -f --show, -a, -l, -j
  assert_eq "$(losetup -f)" /dev/loop0
  assert_eq "$(losetup -f --show a.img)" /dev/loop0
  assert_eq "$(losetup --find --show b.img)" /dev/loop1
  assert_eq "$(losetup -f)" /dev/loop2
  assert_match "$(losetup -a)" "^/dev/loop0: .*\($PWD/a\.img\)\$"
  assert_match "$(losetup -a)" "^/dev/loop1: .*\($PWD/b\.img\)\$"
  assert_eq "$(losetup -a | wc -l)" 2
  assert_eq "$(losetup -n -O NAME,BACK-FILE -l | sort | xargs)" \
    "/dev/loop0 $PWD/a.img /dev/loop1 $PWD/b.img"
  assert_eq "$(losetup -j a.img -n -O NAME | xargs)" /dev/loop0
  assert_match "$(losetup -j b.img)" "^/dev/loop1: "
  assert_eq "$(losetup -j c.img)" ""
  assert_match "$(losetup /dev/loop0)" "^/dev/loop0: .*a\.img"

  # -d: gone at once; the number is free again; the other stays
  losetup -d /dev/loop0
  assert_eq "$(losetup -n -O NAME -l | xargs)" /dev/loop1
  assert_status 1 losetup /dev/loop0
  assert_match "$output" "No such (device|file)"
  assert_status 1 losetup -d /dev/loop0
  assert_eq "$(losetup -f)" /dev/loop0

  # -c: the size follows the file
  assert_eq "$(blockdev --getsize64 /dev/loop1)" 4194304
  truncate -s 6M b.img
  assert_eq "$(blockdev --getsize64 /dev/loop1)" 4194304
  losetup -c /dev/loop1
  assert_eq "$(blockdev --getsize64 /dev/loop1)" 6291456
  losetup -d /dev/loop1

  # a device by name; -o and --sizelimit; what is read is what lies there
  losetup -o 1M --sizelimit 2M /dev/loop3 c.img
  assert_eq "$(blockdev --getsize64 /dev/loop3)" 2097152
  assert_eq "$(losetup -n -O OFFSET,SIZELIMIT -l /dev/loop3 | xargs)" "1048576 2097152"
  cmp -n 2097152 -i 0:1048576 /dev/loop3 c.img
  losetup -d /dev/loop3

  # -r: read-only, seen in every way
  losetup -r /dev/loop0 a.img
  assert_eq "$(losetup -n -O RO -l /dev/loop0 | xargs)" 1
  assert_eq "$(blockdev --getro /dev/loop0)" 1
  assert_status 1 dd if=/dev/zero of=/dev/loop0 bs=4096 count=1 conv=notrunc
  losetup -d /dev/loop0

  # --sector-size, --direct-io
  losetup --sector-size 4096 /dev/loop0 a.img
  assert_eq "$(blockdev --getss /dev/loop0)" 4096
  assert_eq "$(losetup -n -O LOG-SEC -l /dev/loop0 | xargs)" 4096
  losetup -d /dev/loop0
  losetup --direct-io=on /dev/loop0 a.img
  assert_eq "$(losetup -n -O DIO -l /dev/loop0 | xargs)" 1
  losetup --direct-io=off /dev/loop0
  assert_eq "$(losetup -n -O DIO -l /dev/loop0 | xargs)" 0

  # -L, --nooverlap: the same file gives the same device
  assert_eq "$(losetup -L -f --show a.img)" /dev/loop0

  # busy: a second file on a bound device
  assert_status 1 losetup /dev/loop0 b.img
  assert_match "$output" "busy"

  # -D: all of them
  losetup -f b.img
  losetup -D
  assert_eq "$(losetup -a)" ""

  # -P: partitions at once, gone with the device
  printf "label: gpt\nsize=1M\nsize=1M\n" | sfdisk -q a.img
  device=$(losetup -fP --show a.img)
  assert_eq "$(stat -Lc %F "${device}p1" "${device}p2" | uniq)" "block special file"
  assert_eq "$(blockdev --getsize64 "${device}p1")" 1048576
  assert_eq "$(losetup -n -O PARTSCAN -l "$device" | xargs)" 1
  losetup -d "$device"
  [ ! -e "${device}p1" ] || fail "the partition outlived its device"

  # a file that is not there, a directory, an odd size limit
  assert_status 1 losetup -f nothing.img
  mkdir d
  assert_status 1 losetup -f d
  assert_eq "$(losetup -a)" ""
}
in_sandbox inside

# --max
in_sandbox_of_two=(sandbox --max 2 -- bash -ec '
  losetup -f a.img; losetup -f b.img
  if losetup -f c.img 2>message; then echo "a third device in spite of --max 2"; exit 1; fi
  cat message')
assert_status 0 "${in_sandbox_of_two[@]}"
assert_match "$output" "cannot find an unused loop device"
