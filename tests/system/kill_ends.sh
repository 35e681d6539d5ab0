#!/usr/bin/env bash
# Other ends than umount: the command leaves a file system mounted, the command is killed, the backing file shrinks
# under a device, the disk is full.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup mkfs.ext4 fuse2fs e2fsck debugfs

head -c 3000000 /dev/urandom >random
mkdir m

# Loopfs and all below it have KILL_ROUND in their environment.
runs() { grep -lzxF "KILL_ROUND=$1" /proc/[0-9]*/environ 2>/dev/null | grep -q .; }
gone() { ! runs "$1"; }

# sandbox_of ROUND FUNCTION [ARG...]: in_sandbox, marked.
sandbox_of() {
  local -x KILL_ROUND=$1
  in_sandbox "${@:2}"
}

leave_mounted() {
  mkfs.ext4 -q -F disk.img
  mount -o loop disk.img m
  cp random m/file
  case $1 in
    exit) exit 3 ;;
    kill) kill -KILL $$ ;;
    background) # a process that outlives the command, in the mounted file system
      (cd m && exec sleep 1000 >a.log 2>&1) &
      disown
      wait_for 10 test -e m/a.log
      exit 3
      ;;
  esac
}

for way in exit background kill; do
  rm -f disk.img
  truncate -s 32M disk.img
  status=0
  sandbox_of $$.$way leave_mounted $way 2>log || status=$?
  assert_eq $status "$([ $way = kill ] && echo 137 || echo 3)" "$way: $(cat log)"
  # loopfs itself waits for the FUSE program: there is nothing to wait for here.
  gone $$.$way || fail "$way: a process is left"
  assert_status 0 e2fsck -fn disk.img
  debugfs -R "dump file out" disk.img >log 2>&1
  cmp random out
  rm out
done

# The command of a running sandbox is killed from outside, as by the out-of-memory killer.
be_killed() {
  mkfs.ext4 -q -F disk.img
  mount -o loop disk.img m
  cp random m/file
  exec sleep 1000
}
truncate -s 32M disk.img
# shellcheck disable=SC2016 # for the inner shell
"$LOOPFS" run -- bash -c '. "$0"; eval "$1"; be_killed' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" &
pid=$!
children() { cat "/proc/$1"/task/*/children | tr ' ' '\n' | sed '/^$/d'; }
is_sleep() { [ "$(cat "/proc/$1/comm")" = sleep ]; }
kill_sleep() {
  local init command
  for init in $(children $pid); do
    for command in $(children "$init"); do
      ! is_sleep "$command" || { kill -KILL "$command"; return 0; }
    done
  done
  return 1
}
wait_for 20 kill_sleep
status=0
wait $pid || status=$?
assert_eq $status 137
assert_status 0 e2fsck -fn disk.img

# The backing file shrinks: EIO behind its new end, the rest as before; it grows: zeroes.
shrink() {
  truncate -s 8M small.img
  losetup /dev/loop0 small.img
  dd if=random of=/dev/loop0 bs=1M count=2 conv=notrunc,fsync status=none
  truncate -s 1M small.img
  assert_eq "$(blockdev --getsize64 /dev/loop0)" $((8 << 20))
  cmp -n $((1 << 20)) random /dev/loop0
  assert_status 1 dd if=/dev/loop0 of=out iflag=direct bs=4096 skip=1024 count=1
  assert_match "$output" "Input/output error"
  assert_status 1 dd if=/dev/loop0 of=out bs=4096 skip=1536 count=1
  assert_match "$output" "Input/output error"
  truncate -s 8M small.img
  cmp -n 4096 /dev/zero <(dd if=/dev/loop0 bs=4096 skip=1024 count=1 status=none)
  losetup -d /dev/loop0
  # and under a mounted file system
  mkfs.ext4 -q -F small.img
  mount -o loop small.img m
  cp random m/file
  truncate -s 512K small.img
  timeout 20 cat m/file >out 2>log || true # whatever it says: it ends
  timeout 20 cp random m/other 2>log || true
  umount m
  losetup -a >log
  [ ! -s log ] || fail "a device is left: $(cat log)"
}
in_sandbox shrink

# The disk is full: a sparse image on a small tmpfs.
full() {
  mkdir tiny
  mount -t tmpfs -o size=4M tmpfs tiny
  truncate -s 64M tiny/disk.img
  losetup /dev/loop0 tiny/disk.img
  assert_status 1 timeout 20 dd if=/dev/zero of=/dev/loop0 bs=1M count=8 conv=fsync
  assert_match "$output" "No space left|Input/output error"
  assert_status 1 timeout 20 dd if=/dev/zero of=/dev/loop0 bs=1M count=8 oflag=direct
  assert_match "$output" "No space left|Input/output error"
  echo "device: ${output%%$'\n'*}"
  losetup -d /dev/loop0
  rm tiny/disk.img

  truncate -s 64M tiny/disk.img
  mkfs.ext4 -q -F tiny/disk.img
  mount -o loop tiny/disk.img m
  assert_status 1 timeout 20 dd if=/dev/urandom of=m/big bs=256K count=40 conv=fsync
  assert_match "$output" "No space left|Input/output error|Numerical result out of range" # the last: fuse2fs 1.47.0
  echo "ext4: ${output%%$'\n'*}"
  timeout 20 umount m
  assert_eq "$(losetup -a)" ""
  umount tiny
}
in_sandbox full
