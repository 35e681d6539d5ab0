#!/usr/bin/env bash
# Private loop devices in real containers: loopfsd on the host, its socket and mount.loopfs in the container. What a
# container does to its devices, and that nothing of them is left within a second when it is killed.
# run-as: root
# timeout: 600
# serial: yes
. "$(dirname "$0")/lib.sh"
LOOPFSD=${LOOPFS%/*}/loopfsd
MOUNT_LOOPFS=${LOOPFS%/*}/mount.loopfs
for program in "$LOOPFSD" "$MOUNT_LOOPFS"; do [ -x "$program" ] || skip "$program is not built"; done
. "$(dirname "$0")/container_lib.sh"
[ -c /dev/loop-control ] || skip "no loop devices on this machine"
first=900000 # of the kernel's devices that loopfsd makes here
shopt -s nullglob

# The host's devices: those of other tests come and go.
host_devices() { losetup -n -l -O NAME,BACK-FILE | awk -v d="$TEST_FOLDER" '$1 ~ /loop9.....$/ || index($2, d)'; }
kernel_devices() { echo /sys/block/loop9?????; }
no_kernel_devices() { [ -z "$(kernel_devices)" ]; }
bound_to() { grep -lsx -e "$1" /sys/block/loop9?????/loop/backing_file; } # BACKING-FILE, as the container calls it
before=$(host_devices)
assert_eq "$before" ""

chmod 0755 .
mkdir run
"$LOOPFSD" --foreground --first-device $first --socket "$PWD/run/io.loopfs.Manager" 2>loopfsd.log &
loopfsd=$!
finish() {
  local status=$?
  stop_containers
  kill "$loopfsd" 2>/dev/null || true
  wait "$loopfsd" || true
  [ $status -eq 0 ] || sed 's/^/loopfsd: /' loopfsd.log >&2
}
trap finish EXIT
wait_for 10 test -S run/io.loopfs.Manager
wait_for 10 no_kernel_devices # it tries one when it starts

# Inside. $1: host|private.
cat >prepare.sh <<'IN'
set -eu
mkdir /dev/loopfs /mnt/a
mount -t loopfs none /dev/loopfs -o max=4
ln -s /dev/loopfs/* /dev/
for n in 0 1 2 3; do
  ln -s /dev/loopfs/loop$n /dev/loop$n
  for p in 1 2; do ln -s /dev/loopfs/loop${n}p$p /dev/loop${n}p$p; done
done
truncate -s 64M "/$1.img"
IN
cat >use.sh <<'IN'
set -eu
fail() { echo "FAILED: $*"; exit 1; }
eq() { [ "$1" = "$2" ] || fail "got '$1', expected '$2'"; }
refused() { ! "$@" >/tmp/refused 2>&1 || fail "succeeded: $*"; }

eq "$(grep -c ' /dev/loopfs ' /proc/self/mountinfo)" 1
eq "$(ls /dev/loopfs)" loop-control
eq "$(losetup -f --show /$1.img)" /dev/loop0
eq "$(ls /dev/loopfs | xargs)" "loop-control loop0"
eq "$(stat -L -c '%u:%g %a %F' /dev/loop0)" "0:0 600 block special file"
eq "$(losetup -n -O BACK-FILE /dev/loop0)" "/$1.img"
eq "$(blockdev --getsize64 /dev/loop0)" 67108864
refused setpriv --reuid 1000 --clear-groups dd if=/dev/loop0 of=/dev/null count=1
mkfs.ext4 -q /dev/loop0
if [ "$1" = host ]; then
  mount /dev/loop0 /mnt/a
  echo written >/mnt/a/file
  umount /mnt/a
  e2fsck -fn /dev/loop0 >/tmp/e2fsck 2>&1 || fail "$(cat /tmp/e2fsck)"
  losetup -d /dev/loop0
  refused losetup -d /dev/loop0
  mount -o loop /$1.img /mnt/a
  eq "$(cat /mnt/a/file)" written
  eq "$(losetup -n -O AUTOCLEAR,BACK-FILE /dev/loop0 | xargs)" "1 /$1.img"
  umount /mnt/a
  refused losetup -d /dev/loop0
else
  # The kernel mounts ext4 for nobody but the first user namespace. A FUSE program needs nothing from it.
  refused mount -t ext4 /dev/loop0 /mnt/a
  fuse2fs /dev/loop0 /mnt/a
  echo written >/mnt/a/file
  umount /mnt/a
  while ! e2fsck -fn /dev/loop0 >/tmp/e2fsck 2>&1; do
    pgrep -x fuse2fs >/dev/null || fail "$(cat /tmp/e2fsck)" # it writes when it ends
  done
  eq "$(debugfs -R 'cat /file' /dev/loop0 2>/dev/null)" written
  losetup -d /dev/loop0
  refused losetup -d /dev/loop0
fi

# An offset, read-only, and as many as max says.
dd if=/dev/zero of=/small bs=1M count=2 status=none
echo here | dd of=/small bs=4096 seek=3 conv=notrunc status=none
eq "$(losetup -r -o 12288 -f --show /small)" /dev/loop0
eq "$(head -c 4 /dev/loop0)" here
refused dd if=/dev/zero of=/dev/loop0 bs=512 count=1 conv=notrunc
for n in 1 2 3; do eq "$(losetup -f --show /small)" /dev/loop$n; done
refused losetup -f --show /small
for n in 0 1 2 3; do losetup -d /dev/loop$n; done

truncate -s 40M /disk
printf 'label: gpt\nsize=16M\nsize=16M\n' | sfdisk -q /disk
eq "$(losetup -P -f --show /disk)" /dev/loop0
eq "$(ls /dev/loopfs | grep loop0 | xargs)" "loop0 loop0p1 loop0p2"
eq "$(blockdev --getsize64 /dev/loop0p2)" 16777216
mkfs.vfat /dev/loop0p1 >/dev/null
mkfs.ext4 -q /dev/loop0p2
[ "$1" != host ] || { mount /dev/loop0p2 /mnt/a; echo second >/mnt/a/file; umount /mnt/a; }
losetup -d /dev/loop0
eq "$(head -c 90 /dev/loop0 | wc -c)" 0

# Another instance is another world.
mkdir /tmp/other
mount -t loopfs none /tmp/other
eq "$(ls /tmp/other)" loop-control
umount /tmp/other
echo done
IN
# Ends with a device that is bound and mounted, where that is possible.
cat >stay.sh <<'IN'
set -eu
losetup /dev/loop1 /$1.img
[ "$1" = private ] || { mount /dev/loop1 /mnt/a; echo left >/mnt/a/left; }
[ "$1" = host ] || { fuse2fs /dev/loop1 /mnt/a; echo left >/mnt/a/left; }
IN

container_allow_devices b:7 b:259
start() { # NAME KIND USERNS
  # podman hides /sys/dev/block, where util-linux looks for what a device is.
  start_container "$1" "$2" "$3" --cap-add SYS_ADMIN --security-opt unmask=/sys/dev/block --device /dev/fuse \
    -v "$PWD/run:/run/loopfs" -v "$MOUNT_LOOPFS:/sbin/mount.loopfs:ro" -v "$PWD:/test:ro" -- sleep 1000
  container_exec "$1" sh /test/prepare.sh "$3"
}

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }

# gone_within MILLISECONDS CMD...: the kernel has let go of the container's devices, as CMD says. A machine that is busy has
# three times as long.
gone_within() {
  local limit=$(($1 * 3)) start
  shift
  start=$(milliseconds)
  wait_for 10 "$@"
  [ $(($(milliseconds) - start)) -le "$limit" ] || fail "after $(($(milliseconds) - start)) ms: $*"
}
unbound() { ! bound_to "$1"; }

for kind in "${container_kinds[@]}"; do
  read -r runtime userns <<<"$kind"
  start it "$runtime" "$userns"
  assert_eq "$(container_exec it sh /test/use.sh "$userns" 2>&1)" "done" "$kind"
  container_exec it sh /test/stay.sh "$userns"
  [ -n "$(bound_to "/$userns.img")" ] || fail "$kind: no kernel device is bound to /$userns.img"
  kill -KILL "$container_pid"
  gone_within 1000 no_kernel_devices
  container_wait it || true
  assert_eq "$(host_devices)" "$before" "$kind"
done

# Two at once do not see each other's devices, nor does the end of one touch the other.
start one crun host
start two crun private
two=$container_pid
container_exec one sh -c 'losetup /dev/loop0 /host.img; truncate -s 8M /more; losetup /dev/loop3 /more'
container_exec two sh -c 'losetup /dev/loop0 /private.img'
assert_eq "$(container_exec one sh -c 'ls /dev/loopfs' | xargs)" "loop-control loop0 loop3"
assert_eq "$(container_exec two sh -c 'ls /dev/loopfs' | xargs)" "loop-control loop0"
assert_eq "$(container_exec one losetup -n -O BACK-FILE /dev/loop0)" /host.img
assert_eq "$(container_exec two losetup -n -O BACK-FILE /dev/loop0)" /private.img
kill -KILL "$two"
gone_within 1000 unbound /private.img
for file in /host.img /more; do [ -n "$(bound_to $file)" ] || fail "the other container's $file is not bound"; done
assert_eq "$(container_exec one dd if=/dev/loop3 bs=4096 count=1 status=none | wc -c)" 4096

# The end of the mount is the end of the devices too.
container_exec one umount /dev/loopfs
gone_within 1000 no_kernel_devices
assert_eq "$(host_devices)" "$before"
