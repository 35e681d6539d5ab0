#!/usr/bin/env bash
# Several who mount and unmount the same device at the same time: one superblock, as in the kernel, and never an error
# from meeting in the middle; a forced umount gets rid of a FUSE program that is stuck.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs e2fsck

truncate -s 16M fs.img
mkfs.ext4 -q fs.img
mkdir d e

all() { # CMD...: each in the background, all must succeed
  local job jobs=()
  while read -r -a words; do
    "${words[@]}" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || fail "job of $(caller)"; done
}

same_device() {
  losetup /dev/loop0 fs.img
  mkdir -p m{1..10}
  printf 'mount /dev/loop0 m%d\n' {1..10} | all
  echo shared >m1/file
  assert_eq "$(cat m10/file)" shared
  assert_eq "$(stat -c %d m{1..10} | sort -u | wc -l)" 1
  printf 'umount m%d\n' {1..10} | all
  losetup -d /dev/loop0
  assert_eq "$(losetup -a)" ""
}

again_and_again() { # FOLDER
  local i
  for i in {1..25}; do mount /dev/loop0 "$1" && umount "$1" || return 1; done
}
crossing() {
  losetup /dev/loop0 fs.img
  printf 'again_and_again %s\n' d e | all
  # the lazily unmounted file system ends before the next one begins
  for i in {1..25}; do
    mount /dev/loop0 d
    [ "$i" = 1 ] || assert_eq "$(cat d/round)" $((i - 1))
    echo "$i" >d/round
    umount -l d
  done
  losetup -d /dev/loop0
  wait_for 10 nothing_bound
}

stuck() {
  mount -o loop fs.img d
  echo ready >ready
  wait_for 10 test -e go
  # what is stuck lets go as soon as the connection is aborted
  (stat d/file >/dev/null 2>&1 || true) &
  local start=$SECONDS
  umount -f d 2>/dev/null || wait_for 5 umount -f d
  [ $((SECONDS - start)) -le 30 ] || fail "umount -f took $((SECONDS - start)) s"
  wait
  assert_eq "$(losetup -a)" ""
  mount -o loop fs.img d
  umount d
}

in_sandbox same_device
in_sandbox crossing
e2fsck -fn fs.img >e2fsck.out 2>&1 || fail "$(cat e2fsck.out)"

in_sandbox stuck 2>lines &
job=$!
wait_for 20 test -e ready
program=$(find /proc/[0-9]*/fd -maxdepth 1 -lname "$PWD/fs.img" 2>/dev/null | cut -d/ -f3 | sort -u |
  while read -r pid; do [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = fuse2fs ] && echo "$pid"; done || true)
[ -n "$program" ] || fail "no fuse2fs to stop"
kill -STOP "$program"
echo go >go
wait $job || fail "$(cat lines)"
