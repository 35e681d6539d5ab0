#!/usr/bin/env bash
# What goes wrong ends in one clear line and never hangs: no /dev/fuse, no user namespaces, no command, corrupt
# images, a backing file cut short, a full disk, a FUSE program that is killed.
# timeout: 600
. "$(dirname "$0")/lib.sh"
require bwrap mkfs.ext4 fuse2fs mksquashfs squashfuse

# one_line STATUS REGEX CMD...: ends so, with this one line and nothing else
one_line() {
  local status=$1 regex=$2
  shift 2
  assert_status "$status" "$@"
  assert_eq "$(wc -l <<<"$output")" 1 "one line: $output"
  assert_match "$output" "^loopfs: .*$regex"
}

one_line 2 'no command' sandbox
one_line 2 'bogus' sandbox --bogus true
one_line 2 'max' sandbox --max 0 true
one_line 1 '/dev/fuse' timeout 60 bwrap --dev-bind / / --ro-bind /dev/null /dev/fuse "$LOOPFS" run true
# shellcheck disable=SC2016 # for the inner shell
one_line 1 'user namespace' timeout 60 unshare -Ur --mount --propagation private \
  bash -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$LOOPFS" run true'
one_line 1 'nowhere' sandbox --root "$PWD/nowhere" true
one_line 1 'nowhere' sandbox --bind "$PWD/nowhere" true
one_line 1 'loopfs.toml' sandbox --config "$PWD/loopfs.toml" true
echo 'this is [not toml' >loopfs.toml
one_line 1 'loopfs.toml' sandbox --config "$PWD/loopfs.toml" true

# Images that are no file systems, or broken ones: mount says so, with a true errno, and the device is free after.
mkdir m
head -c 4M /dev/urandom >noise.img
truncate -s 16M empty.img
truncate -s 16M super.img groups.img
mkfs.ext4 -q super.img
mkfs.ext4 -q groups.img
head -c 512 /dev/urandom | dd of=super.img bs=1 seek=1100 conv=notrunc status=none
head -c 4096 /dev/urandom | dd of=groups.img bs=4096 seek=1 conv=notrunc status=none
head -c 4096 /dev/urandom | dd of=groups.img bs=1024 seek=2 conv=notrunc status=none
mksquashfs "$TEST_FOLDER/tests" cut.img -quiet -no-progress >/dev/null
truncate -s 4096 cut.img
broken_images() {
  for image in noise empty super groups cut; do
    type=ext4
    [ $image != cut ] || type=squashfs
    assert_status 32 timeout 30 mount -o loop -t $type $image.img m
    printf "%s: %s\n" "$image" "$output"
    assert_no_match "$output" "permission denied|not permitted"
    wait_for 10 nothing_bound
    assert_eq "$(grep -c loop /proc/self/mounts)" "$(grep -c loopfs /proc/self/mounts)" "nothing is mounted"
  done
}
in_sandbox broken_images

# A backing file that is cut short while it is in use: errors or zeros, and an end.
truncate -s 8M short.img
cut_short() {
  losetup /dev/loop0 short.img
  echo before | dd of=/dev/loop0 seek=8192 conv=notrunc,fsync status=none
  truncate -s 0 short.img
  timeout 20 dd if=/dev/loop0 of=/dev/null bs=1M iflag=direct status=none || [ $? -ne 124 ] || fail "the read hangs"
  timeout 20 dd if=/dev/zero of=/dev/loop0 bs=4k count=1 conv=notrunc,fsync status=none || [ $? -ne 124 ] || fail "the write hangs"
  losetup -c /dev/loop0
  timeout 20 losetup -d /dev/loop0
}
in_sandbox cut_short

# A full disk under the backing file: the writer hears of it, at the latest from fsync.
full_disk() {
  mount -t tmpfs -o size=4M tmpfs m
  truncate -s 64M m/a.img
  losetup /dev/loop0 m/a.img
  assert_status 1 timeout 30 dd if=/dev/zero of=/dev/loop0 bs=1M count=32 conv=notrunc,fsync
  assert_match "$output" "No space left|Input/output error"
  assert_status 1 timeout 30 dd if=/dev/zero of=/dev/loop0 bs=1M count=32 oflag=direct conv=notrunc
  losetup -d /dev/loop0
  umount m
}
in_sandbox full_disk

# A FUSE program that is killed: its mount is dead, can be unmounted, and the device is free again.
truncate -s 16M killed.img
mkfs.ext4 -q killed.img
mkfifo mounted go
killed_program() {
  mount -o loop killed.img m
  echo synced >m/file
  sync -f m/file
  echo >mounted
  read -r _ <go
  assert_status 2 timeout 20 ls m
  umount m
  wait_for 10 nothing_bound
}
in_sandbox killed_program &
sandbox=$!
read -r _ <mounted
descendants() { local child; for child in $(pgrep -P "$1" || true); do echo "$child"; descendants "$child"; done; }
killed=
for pid in $(descendants $sandbox); do
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != fuse2fs ] || killed=$pid
done
[ -n "$killed" ] || fail "fuse2fs is not among the processes of loopfs"
kill -KILL "$killed"
echo >go
wait $sandbox
