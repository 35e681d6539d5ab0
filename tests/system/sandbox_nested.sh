#!/usr/bin/env bash
# Namespaces inside: unshare with a proc and a sysfs of its own, bwrap, a sandbox in a sandbox in a sandbox.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require unshare bwrap

sandbox -- unshare -Urpf --mount-proc true
assert_eq "$(sandbox -- unshare -Urpf --mount-proc sh -c 'echo $$')" 1
sandbox -- unshare -Urmpfn sh -ec 'mount -t proc proc /proc; mount -t sysfs sysfs /mnt; [ -d /mnt/class/net ]'
sandbox -- bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true
assert_eq "$(sandbox -- bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev id -u)" 0
assert_eq "$(sandbox -- bwrap --unshare-user --uid 1000 --dev-bind / / id -u)" 1000

nest() { sandbox -- "$LOOPFS" run -- "$LOOPFS" run -- "$@"; }
assert_status 7 nest sh -c 'exit 7'
assert_status 143 nest sh -c 'kill -TERM $$'
assert_eq "$(nest id -u)" 0
assert_eq "$(nest pwd)" "$PWD"
nest unshare -Urmpfn sh -ec 'mount -t proc proc /proc; mount -t sysfs sysfs /mnt'
# The outer supervisor mounts the inner one's devices.
if command -v mkfs.ext4 fuse2fs >/dev/null; then
  truncate -s 16M image
  mkfs.ext4 -q image
  mkdir m
  assert_eq "$(nest sh -c 'mount -o loop image m && echo text >m/file && cat m/file && findmnt -no SOURCE m && umount m && losetup -a')" \
    $'text\n/dev/loop0'
  e2fsck -fn image >/dev/null
fi
# The end of an outer one is the end of the inner ones.
tag=93$RANDOM
setsid "$LOOPFS" run -- "$LOOPFS" run -- sleep $tag &
job=$!
wait_for 20 pgrep -fx "sleep $tag"
kill -KILL $job
gone() { ! pgrep -f "sleep $tag"; }
wait_for 10 gone
