#!/usr/bin/env bash
# Two sandboxes at once, both with /dev/loop0, on different files: neither sees the other's.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require losetup dd

inside() {
  side=$1
  assert_eq "$(losetup -f --show "$side.img")" /dev/loop0
  echo "$side" | dd of=/dev/loop0 conv=notrunc,fsync status=none
  echo bound >"$side.bound"
  read -r _ <"$side.go"
  assert_eq "$(losetup -n -l -O NAME,BACK-FILE | xargs)" "/dev/loop0 $PWD/$side.img"
  assert_eq "$(head -n 1 /dev/loop0)" "$side"
  assert_eq "$(ls /sys/block/loop*/loop/backing_file)" /sys/block/loop0/loop/backing_file
  losetup -d /dev/loop0
  echo free >"$side.bound"
  read -r _ <"$side.go"
  assert_eq "$(losetup -a)" ""
}
for side in left right; do
  truncate -s 4M $side.img
  mkfifo $side.bound $side.go
  in_sandbox inside $side &
done
# Both are bound before either looks, and one is free while the other one still looks.
for side in left right; do assert_eq "$(timeout 30 cat <$side.bound)" bound; done
echo go >left.go
assert_eq "$(timeout 30 cat <left.bound)" free
echo go >right.go
assert_eq "$(timeout 30 cat <right.bound)" free
echo go >left.go
echo go >right.go
wait -n
wait -n
assert_eq "$(head -n 1 left.img)" left
assert_eq "$(head -n 1 right.img)" right
