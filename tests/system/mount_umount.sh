#!/usr/bin/env bash
# umount, lazy and busy, remount; and the image is complete the moment that umount returns.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs e2fsck

truncate -s 32M fs.img
mkfs.ext4 -q fs.img
head -c 8M /dev/urandom >data
mkdir d

complete() {
  local round
  for round in 1 2 3 4 5; do
    mount -o loop fs.img d
    [ "$round" = 1 ] || cmp d/data data
    cp data d/data
    echo "$round" >d/round
    umount d
    assert_eq "$(losetup -a)" ""
    e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "round $round: $(cat e2fsck.out)"
    assert_eq "$(debugfs -R 'cat /data' fs.img 2>/dev/null | sha256sum)" "$(sha256sum <data)"
  done
}

busy() {
  mount -o loop fs.img d
  exec {open}<d/data
  assert_status 32 umount d
  assert_match "$output" busy
  umount -l d
  assert_status 32 mountpoint -q d
  cmp data - <&"$open"
  assert_match "$(losetup -a)" /dev/loop0
  exec {open}<&-
  wait_for 10 nothing_bound
  e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "after a lazy umount: $(cat e2fsck.out)"
}

remount() {
  mount -o loop fs.img d
  echo first >d/first
  mount -o remount,ro d
  assert_status 1 touch d/second
  assert_match "$output" Read-only
  mount -o remount,rw d
  echo second >d/second
  umount d
  assert_eq "$(debugfs -R 'cat /second' fs.img 2>/dev/null)" second
  e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "after remounts: $(cat e2fsck.out)"
  # mounted read-only, then writable
  mount -o loop,ro fs.img d
  assert_status 1 touch d/third
  if losetup -n -O RO -l /dev/loop0 | grep -q 1; then
    # mount(8) binds read-only for ro: such a device stays so
    assert_status 32 mount -o remount,rw d
  fi
  umount d
  losetup /dev/loop0 fs.img
  mount -o ro /dev/loop0 d
  assert_status 1 touch d/third
  mount -o remount,rw d
  echo third >d/third
  umount d
  losetup -d /dev/loop0
  assert_eq "$(debugfs -R 'cat /third' fs.img 2>/dev/null)" third
  assert_eq "$(losetup -a)" ""
}

for part in complete busy remount; do in_sandbox "$part"; done
