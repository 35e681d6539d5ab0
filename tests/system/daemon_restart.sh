#!/usr/bin/env bash
# loopfsd goes on where it was: its server is killed at every moment, replaced by a newer program, ends and starts anew,
# while containers use their devices.
# run-as: root
# serial: yes
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup mke2fs dd unshare nsenter python3
kernel_has ext4 || unavailable "the kernel has no ext4"

first=500000
pid_file=$TEST_FOLDER/run/pid
helpers=$TEST_FOLDER/tests/system/helpers
printf '[mount]\ndefault = "kernel"\n' >config.toml

# --- The daemon ---

start() {
  rm -f "$pid_file"
  "$LOOPFSD" --foreground --socket "$SOCKET" --pid-file "$pid_file" --first-device $first --config config.toml \
    >>"$TEST_FOLDER/run/log" 2>&1 &
  daemon_pid=$!
  wait_for 10 test -s "$pid_file"
  assert_eq "$(cat "$pid_file")" $daemon_pid "the keeper is who writes its pid"
}

stop() {
  kill -TERM "$daemon_pid"
  wait "$daemon_pid"
  daemon_pid=
}

end() {
  local status=$?
  for pid in "${container_pids[@]}" "${worker_pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  [ -z "$daemon_pid" ] || { kill "$daemon_pid" && wait "$daemon_pid"; } || true
  for device in $(bound); do losetup -d "/dev/$device"; done
  [ $status -eq 0 ] || cat ./*/log >&2
  [ $status -eq 0 ] || sed 's/^/loopfsd: /' "$TEST_FOLDER/run/log" | tail -n 40 >&2
}
container_pids=()
worker_pids=()
trap end EXIT

server() { tr -d ' ' <"/proc/$daemon_pid/task/$daemon_pid/children"; }
has_new_server() {
  local now
  now=$(server)
  [ -n "$now" ] && [ "$now" != "$1" ]
}
ask() { python3 "$helpers/daemon_steps.py" --ask "$SOCKET" "$1"; }

kill_server() {
  local old
  old=$(server)
  kill -KILL "$old"
  wait_for 15 has_new_server "$old"
}

# The kernel devices of the daemon.
devices() {
  local path number
  for path in /sys/block/loop*; do
    number=${path#/sys/block/loop}
    [ "$number" -lt $first ] || [ "$number" -ge $((first + 1000)) ] || echo "loop$number"
  done
}
no_devices() { [ -z "$(devices)" ]; }
bound() { local device; for device in $(devices); do [ ! -e "/sys/block/$device/loop" ] || echo "$device"; done; }
two_instances() { [ "$(ask Counts | python3 -c 'import json, sys; print(json.load(sys.stdin)["instances"])')" = 2 ]; }
bound_are() { [ "$(bound | wc -l)" -eq "$1" ]; }

# --- Containers: a mount and a pid namespace, and a /dev of their own with an instance in it ---

inside() { # FOLDER
  local name
  mount -t proc proc /proc
  mkdir -p "$1/dev"
  mount --rbind /dev "$1/dev"
  mount -t tmpfs -o mode=0755 tmpfs /dev
  for name in null zero urandom; do
    touch "/dev/$name"
    mount --bind "$1/dev/$name" "/dev/$name"
  done
  mkdir /dev/loopfs
  "$MOUNT_LOOPFS" none /dev/loopfs -o "max=8,socket=$SOCKET"
  for name in loop-control loop{0..7}; do ln -s "loopfs/$name" "/dev/$name"; done
  touch "$1/up"
  exec sleep 1000
}

# container NAME [OPTION of unshare...]
container() {
  mkdir -p "$1"
  # shellcheck disable=SC2016 # for the inner shell
  SOCKET=$SOCKET MOUNT_LOOPFS=$MOUNT_LOOPFS unshare --mount --pid --fork --kill-child --propagation private "${@:2}" \
    bash -c '. "$0"; eval "$1"; inside "$2"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$PWD/$1" 2>>"$1/log" &
  local pid=$!
  container_pids+=("$pid")
  wait_for 20 test -e "$1/up"
  pgrep -P "$pid" >"$1/pid"
}

# in_container NAME FUNCTION [ARG...]: in its folder.
in_container() {
  local user=
  [ "$1" != rootless ] || user="--user --preserve-credentials"
  # shellcheck disable=SC2016,SC2086 # for the inner shell; words
  nsenter --target "$(cat "$1/pid")" --mount --pid $user \
    bash -c '. "$0"; eval "$1"; cd "$2"; shift 2; "$@"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$PWD/$1" "${@:2}"
}

end_container() {
  local pid
  pid=$(cat "$1/pid")
  kill -KILL "$pid"
  wait_for 10 test ! -d "/proc/$pid"
  rm "$1/up"
}

# --- What the containers do, until there is a file "stop"; each round is a line in NAME.rounds ---

rounds() { # NAME FUNCTION
  while [ ! -e stop ]; do
    "$2" >"$1.out" 2>&1 || { echo "$1: $(cat "$1.out")" >>errors; return 1; }
    echo . >>"$1.rounds"
  done
}
dd_round() {
  dd if=pattern of=/dev/loop0 bs=64k count=64 oflag=direct conv=notrunc status=none
  dd if=/dev/loop0 bs=64k count=64 iflag=direct status=none | cmp -n $((64 * 65536)) - pattern
}
ext4_round() {
  dd if=pattern of=files/file bs=64k count=32 conv=fsync status=none
  cmp -n $((32 * 65536)) files/file pattern
}
ls_round() {
  assert_match "$(ls /dev/loopfs)" loop-control
  assert_match "$(stat -c %F /dev/loopfs/loop0)" 'block special'
}
losetup_round() {
  local device
  device=$(losetup --find --show losetup.img)
  assert_eq "$(dd if="$device" bs=4 count=1 status=none)" abcd
  losetup --list "$device" | grep -q losetup.img
  losetup -d "$device"
}
mkfs_round() {
  local device
  device=$(losetup --find --show mkfs.img)
  mke2fs -q -F -t ext4 "$device"
  e2fsck -fn "$device"
  losetup -d "$device"
}
whole_round() { # as root of the machine: the kernel mounts
  local device
  device=$(losetup --find --show mkfs.img)
  mke2fs -q -F -t ext4 "$device"
  mount "$device" more
  dd if=pattern of=more/file bs=64k count=16 conv=fsync status=none
  umount more
  mount "$device" more
  cmp -n $((16 * 65536)) more/file pattern
  umount more
  losetup -d "$device"
}

descriptors() {
  python3 "$helpers/daemon_descriptors.py" /dev/loopfs descriptors.img stop descriptors.rounds 2>descriptors.out ||
    echo "descriptors: $(cat descriptors.out)" >>errors
}

worker() { # CONTAINER NAME [FUNCTION ARG...]
  helpers=$helpers in_container "$1" "${@:3}" >"$1/$2.log" 2>&1 &
  workers+=("$1/$2")
  worker_pids+=($!)
}
workers=()
worker_pids=()

lines() { { cat "$1" 2>/dev/null || true; } | wc -l; }
errors() { cat plain/errors rootless/errors 2>/dev/null || true; }
has_more() { [ "$(lines "$1")" -gt "$2" ] || [ -n "$(errors)" ]; }

# Each of them has begun and ended a round since now, and none has seen an error.
all_go_on() {
  local name
  declare -A before
  for name in "${workers[@]}"; do before[$name]=$(lines "$name.rounds"); done
  for name in "${workers[@]}"; do wait_for 40 has_more "$name.rounds" $((before[$name] + 1)); done
  assert_eq "$(errors)" "" "errors in the containers"
}

end_workers() {
  touch plain/stop rootless/stop
  wait "${worker_pids[@]}"
  assert_eq "$(errors)" "" "errors in the containers"
  rm -f plain/stop rootless/stop
  workers=()
  worker_pids=()
}

make_images() { # FOLDER
  mkdir -p "$1"/{files,more}
  cp pattern "$1/pattern"
  truncate -s 16M "$1"/{dd,ext4,mkfs,descriptors}.img
  { printf abcd; head -c 1048572 /dev/zero; } >"$1/losetup.img"
}

head -c 4M /dev/urandom >pattern
for name in plain rootless third; do make_images $name; done

part() { echo "--- $* (after $SECONDS s)"; }

part "the server is killed while containers use their devices"
start
container plain
container rootless --user --map-root-user
bind_it() { fcntl_add 0; losetup /dev/loop0 dd.img; }
fcntl_add() { python3 -c 'import fcntl, sys; fcntl.ioctl(open("/dev/loop-control"), 0x4C80, int(sys.argv[1]))' "$1"; }
mount_it() {
  fcntl_add 1
  losetup /dev/loop1 ext4.img
  mke2fs -q -F -t ext4 /dev/loop1
  mount /dev/loop1 files
}
in_container plain bind_it
in_container rootless bind_it
in_container plain mount_it
# Whoever asks for a free device (losetup --find) gets the lowest: with these it is never loop6, which `descriptors` has open
# and expects to stay free. Two ask at a time, and each may still have its last one.
free_devices() { for number in 1 2 3 4 5; do fcntl_add "$number"; done; }
in_container rootless free_devices
worker plain dd rounds dd dd_round
worker plain ext4 rounds ext4 ext4_round
worker plain descriptors descriptors
worker rootless dd rounds dd dd_round
worker rootless ls rounds ls ls_round
worker rootless losetup rounds losetup losetup_round
worker rootless mkfs rounds mkfs mkfs_round
worker rootless descriptors descriptors
all_go_on
for _ in 1 2 3 4 5; do
  kill_server
  all_go_on
done

part "a newer program"
cp "$LOOPFSD" "$LOOPFSD.new"
mv "$LOOPFSD.new" "$LOOPFSD"
old=$(server)
kill -HUP "$daemon_pid"
wait_for 15 has_new_server "$old"
runs_new() { [ "$(stat -L -c %i "/proc/$(server)/exe")" = "$(stat -c %i "$LOOPFSD")" ]; }
wait_for 5 runs_new
assert_eq "$(readlink "/proc/$(server)/exe")" "$LOOPFSD"
assert_match "$(readlink "/proc/$daemon_pid/exe")" "loopfsd \(deleted\)$"
all_go_on
end_workers
rounds=$(cat ./*/*.rounds | wc -l)
echo "$rounds rounds, no error"

part "a device whose file was changed"
change_file() {
  losetup --read-only --find --show losetup.img >changed
  { printf wxyz; tail -c +5 losetup.img; } >other.img
  python3 -c '
import fcntl, os
fcntl.ioctl(os.open(open("changed").read().strip(), os.O_RDONLY), 0x4C06, os.open("other.img", os.O_RDONLY))  # LOOP_CHANGE_FD'
}
has_other_file() {
  assert_eq "$(stat -Lc %F "$(cat changed)")" "block special file"
  assert_eq "$(dd if="$(cat changed)" bs=4 count=1 status=none)" wxyz
}
in_container plain change_file
in_container plain has_other_file
for _ in 1 2; do
  kill_server
  in_container plain has_other_file
done
in_container plain losetup -d "$(cat plain/changed)"
wait_for 5 bound_are 3 # dd twice, ext4

part "ten kills in a row while file systems are made, mounted and written"
worker plain whole rounds whole whole_round
all_go_on
for _ in 1 2 3 4 5 6 7 8 9 10; do kill_server; done
all_go_on
end_workers
assert_match "$(losetup -n -l -O BACK-FILE)" "plain/dd.img"

part "a container ends while there is no server"
wait_for 5 bound_are 3 # dd twice, ext4
container third
in_container third bind_it
helpers=$helpers in_container third descriptors >third/descriptors.log 2>&1 &
third=$!
wait_for 10 has_more third/descriptors.rounds 10
kill_server
kill -KILL "$(server)"
end_container third
wait $third || true
wait_for 15 bound_are 3
wait_for 5 two_instances

part "the end of the daemon, and a new one"
not_connected() { ! ls /dev/loopfs 2>&1 || fail "the instance still answers"; }
daemon_is_gone() {
  assert_match "$(in_container plain not_connected)" 'not connected'
  assert_match "$(in_container rootless not_connected)" 'not connected'
  in_container plain ext4_round # the kernel's
  bound_are "$1" || fail "bound: $(bound)"
}
released() { # what nobody uses is gone; what is mounted stays until it is not
  wait_for 5 bound_are 1
  in_container plain ext4_round
  in_container plain umount files
  wait_for 5 no_devices
}
stop
daemon_is_gone 1 # what nobody uses has gone with it
start
released
in_container plain umount -l /dev/loopfs
in_container rootless umount -l /dev/loopfs

part "the keeper is killed"
end_container plain
end_container rootless
container plain
container rootless --user --map-root-user
in_container plain bind_it
in_container rootless bind_it
in_container plain mount_it
old=$(server)
kill -KILL "$daemon_pid"
wait "$daemon_pid" || true
wait_for 5 test ! -d "/proc/$old"
daemon_is_gone 3
start
released
end_container plain
end_container rootless
wait_for 5 no_devices
stop

part "a kill before every system call of an operation"
start
mkdir steps
unshare --mount --propagation private python3 "$helpers/daemon_steps.py" "$SOCKET" "$pid_file" "${LOOPFSD%/*}" "$PWD/steps"
wait_for 5 no_devices
stop
part "the end"
