#!/usr/bin/env bash
# Corrupt images, FUSE programs and callers that are killed, many mounts at once: never a hang, nothing left.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs mksquashfs squashfuse perl

mkdir content d
head -c 200K /dev/urandom >content/data
truncate -s 4M ext4.img
mkfs.ext4 -q -d content ext4.img
mksquashfs content squashfs.img -quiet -no-progress >/dev/null

corrupt() { # FROM TO SEED: some bytes become others, mostly where the metadata is
  perl -e '
    my ($from, $to, $seed) = @ARGV;
    srand($seed);
    open(my $in, "<:raw", $from) or die; local $/; my $bytes = <$in>;
    my $reach = rand() < 0.7 ? 65536 : length $bytes;
    $reach = length $bytes if $reach > length $bytes;
    substr($bytes, int(rand($reach)), 1) = chr(int(rand(256))) for 1 .. 1 + int(rand(200));
    open(my $out, ">:raw", $to) or die; print $out $bytes; close $out;' "$@"
}

corruptions() {
  local seed type status mounted=0
  for seed in $(seq 1 40); do
    type=$([ $((seed % 2)) -eq 0 ] && echo ext4 || echo squashfs)
    corrupt "$type.img" bad.img "$seed"
    status=0
    timeout -k 1 20 mount -t "$type" -o loop bad.img d >message 2>&1 || status=$?
    case $status in 124 | 137) fail "seed $seed: mount hangs" ;; esac
    if [ "$status" -eq 0 ]; then
      mounted=$((mounted + 1))
      status=0
      timeout -k 1 20 find d -type f -exec cat {} + >/dev/null 2>&1 || status=$?
      case $status in 124 | 137) fail "seed $seed: reading hangs" ;; esac
      timeout -k 1 20 umount d || fail "seed $seed: umount"
    fi
    [ "$(losetup -a)" = "" ] || wait_for 5 nothing_bound
  done
  echo "mounted $mounted of 40"
}
SANDBOX_SECONDS=270
assert_status 0 in_sandbox corruptions
assert_match "$output" '^mounted [0-9]+ of 40$'

# The FUSE program is killed from the outside.
killed() {
  mount -o loop ext4.img d
  echo ready >ready
  wait_for 10 test -e go
  wait_for 10 not_connected
  umount d
  wait_for 5 nothing_bound
  mount -o loop ext4.img d # usable again
  umount d
}
not_connected() { ! stat d/data 2>message && grep -q 'not connected' message; }
in_sandbox killed 2>lines &
sandbox_pid=$!
wait_for 10 test -e ready
program=$(pgrep -x fuse2fs -u "$(id -u)" | while read -r pid; do
  readlink "/proc/$pid/fd/"* 2>/dev/null | grep -q "^$PWD/ext4.img" && echo "$pid"
done || true)
[ -n "$program" ] || fail "no fuse2fs to kill"
kill -KILL "$program"
echo go >go
wait $sandbox_pid || fail "$(cat lines)"
assert_eq "$(grep -c 'ended while the file system was mounted' lines)" 1 "$(cat lines)"

# The caller is killed at different moments of its mount.
callers() {
  local delay pid
  for delay in 0.000 0.003 0.010 0.020 0.040 0.080; do
    losetup /dev/loop0 ext4.img
    mount -t ext4 /dev/loop0 d 2>/dev/null &
    pid=$!
    read -r -t "$delay" <> <(:) || true
    kill -KILL $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    ! mountpoint -q d || umount d # it was in time
    losetup -d /dev/loop0
    wait_for 10 nothing_bound
  done
}
in_sandbox callers

# Many at once.
many() {
  local i pids=()
  for i in $(seq 60); do
    (
      cp --sparse=always ext4.img "many$i.img"
      mkdir -p "m$i"
      mount -o loop "many$i.img" "m$i" && echo "$i" >"m$i/number" && umount "m$i" &&
        mount -o loop "many$i.img" "m$i" && [ "$(cat "m$i/number")" = "$i" ] && umount "m$i"
    ) &
    pids+=($!)
  done
  for i in "${!pids[@]}"; do wait "${pids[i]}" || fail "number $((i + 1))"; done
  wait_for 10 nothing_bound
}
in_sandbox many
