#!/usr/bin/env bash
# Partitions by every way that makes them: losetup -P, blockdev --rereadpt, partx -a/-d/-u, sgdisk and sfdisk on
# the device itself; MBR with logical partitions and GPT.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require sfdisk sgdisk partx blockdev lsblk

truncate -s 64M gpt.img mbr.img
printf 'label: gpt\nsize=8M, name=one\nsize=8M, name=two\n' | sfdisk -q gpt.img
printf 'label: dos\n1: size=8M\n2: size=40M, type=5\n5: size=4M\n6: size=4M\n' | sfdisk -q mbr.img

inside() {
  nodes() { find /dev -maxdepth 1 -name 'loop0p*' -printf '%f\n' | sort | xargs; }

  losetup -P /dev/loop0 gpt.img
  assert_eq "$(nodes)" "loop0p1 loop0p2"
  assert_eq "$(sfdisk --part-label /dev/loop0 1)" one
  assert_match "$(lsblk -n -r -o NAME,TYPE,SIZE /dev/loop0)" "loop0p2 part 8M"
  # what is written to a partition lies in the image at its place
  echo hello | dd of=/dev/loop0p2 conv=notrunc,fsync status=none
  start=$(partx -g -o START -n 2 /dev/loop0 | xargs)
  assert_eq "$(dd if=gpt.img bs=512 skip="$start" count=1 status=none | head -n 1 | tr -d "\0")" hello

  # a tool that writes another table to the device: the nodes follow
  sgdisk -n 3:0:+4M /dev/loop0 >/dev/null
  wait_for 10 test -b /dev/loop0p3
  sgdisk -d 3 /dev/loop0 >/dev/null
  wait_for 10 test ! -e /dev/loop0p3
  printf "size=4M\n" | sfdisk -q --append /dev/loop0
  wait_for 10 test -b /dev/loop0p3
  losetup -d /dev/loop0
  assert_eq "$(nodes)" ""

  # without -P there are none until somebody asks
  losetup /dev/loop0 mbr.img
  assert_eq "$(nodes)" ""
  partx -a /dev/loop0
  assert_eq "$(nodes)" "loop0p1 loop0p2 loop0p5 loop0p6"
  assert_eq "$(blockdev --getsize64 /dev/loop0p5)" 4194304
  partx -d --nr 5 /dev/loop0
  assert_eq "$(nodes)" "loop0p1 loop0p2 loop0p6"
  partx -d /dev/loop0
  assert_eq "$(nodes)" ""
  partx -u /dev/loop0
  assert_match "$(nodes)" "loop0p1"
  losetup -d /dev/loop0

  losetup -P /dev/loop0 mbr.img
  assert_eq "$(nodes)" "loop0p1 loop0p2 loop0p5 loop0p6"
  blockdev --rereadpt /dev/loop0
  assert_eq "$(nodes)" "loop0p1 loop0p2 loop0p5 loop0p6"
  # a partition in use keeps the table from being read again
  exec 9<>/dev/loop0p1
  assert_status 1 blockdev --rereadpt /dev/loop0
  exec 9>&-
}
in_sandbox inside
sgdisk -v gpt.img | grep -q 'No problems found' || fail "$(sgdisk -v gpt.img)"
