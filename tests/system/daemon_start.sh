#!/usr/bin/env bash
# When loopfsd serves and when it refuses to: on a kernel whose new loop devices somebody else opens, as udevd does; and
# beside another loopfsd, whose numbers it must not touch.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup python3 unshare timeout pgrep

first=600000
doctors=1044416 # loopfs doctor tries on those from here on
opener=
other=
end() {
  local status=$? pid
  for pid in $opener $other; do kill -KILL "$pid" 2>/dev/null || true; done
  if mountpoint -q instance; then umount instance; fi
  [ -z "$daemon_pid" ] || { kill "$daemon_pid" && wait "$daemon_pid"; } 2>/dev/null || true
  remove_all "$doctors" 1048576 || true
  remove_all "$first" $((first + 200000)) || true
  [ $status -eq 0 ] || sed 's/^/loopfsd: /' "$TEST_FOLDER/run/log" second.log one.log two.log >&2 2>/dev/null || true
}
trap end EXIT

# devices FIRST END: the kernel's in this range.
devices() {
  local path number
  for path in /sys/block/loop*; do
    number=${path#/sys/block/loop}
    [ "$number" = "*" ] || [ "$number" -lt "$1" ] || [ "$number" -ge "$2" ] || echo "$number"
  done
}
none_left() { [ -z "$(devices "$1" "$2")" ]; }
add_each() { python3 -c 'import fcntl, sys; [fcntl.ioctl(open("/dev/loop-control"), 0x4C80, n) for n in range(*map(int, sys.argv[1:]))]' "$@"; }
# False: some are in use.
remove_all() {
  # shellcheck disable=SC2046 # numbers
  python3 - $(devices "$1" "$2") <<'PYTHON'
import concurrent.futures, fcntl, sys
control = open("/dev/loop-control")
def remove(number):
    try:
        fcntl.ioctl(control, 0x4C81, int(number))
    except OSError:
        return False
    return True
sys.exit(not all(concurrent.futures.ThreadPoolExecutor(32).map(remove, sys.argv[1:])))
PYTHON
}

open_each() { # SECONDS|-
  rm -f ready
  python3 "$TEST_FOLDER/tests/system/helpers/device_opener.py" $first "$1" ready >opener.log 2>&1 &
  opener=$!
  wait_for 5 test -e ready
}
close_all() {
  kill -KILL "$opener"
  wait "$opener" 2>/dev/null || true
  opener=
}
last_close() { "$LOOPFS" doctor | grep 'clearing in use'; }

echo "== the kernel"
assert_match "$(last_close)" '^OK .*at its last close only'
none_left "$doctors" 1048576 || fail "loopfs doctor has left $(devices "$doctors" 1048576)"
# Who opens each device for a moment delays the answer, and does not change it.
open_each 0.05
for _ in 1 2 3 4 5; do assert_match "$(last_close)" '^OK .*at its last close only'; done
grep -q '^opened' opener.log || fail "nothing was opened"
start_daemon $first
trap end EXIT
wait_for 15 grep -q ready "$TEST_FOLDER/run/log"
assert_no_match "$(cat "$TEST_FOLDER/run/log")" critical
kill "$daemon_pid" && wait "$daemon_pid"
close_all
wait_for 5 none_left "$doctors" 1048576
wait_for 5 remove_all $first $((first + 100000))
# Who keeps all of them open takes the answer away: neither yes nor no. There before, so that nobody is faster.
open_each -
opened_are() { [ "$(grep -c '^opened' opener.log)" -ge "$1" ]; }
add_each "$doctors" 1044480
add_each $first $((first + 60))
wait_for 20 opened_are 124
assert_match "$(last_close)" 'cannot be told'
start_daemon $first
trap end EXIT
has_been_tried() { [ "$(grep -c 'somebody else has each new loop device open' "$TEST_FOLDER/run/log")" -ge 1 ]; }
wait_for 20 has_been_tried
assert_no_match "$(cat "$TEST_FOLDER/run/log")" 'ready|while it is open'
close_all
wait_for 20 grep -q ready "$TEST_FOLDER/run/log" # by itself
wait_for 20 remove_all "$doctors" 1048576

echo "== numbers"
truncate -s 1M a.img
printf content | dd of=a.img conv=notrunc status=none
mkdir instance
"$MOUNT_LOOPFS" none instance -o "max=2,socket=$SOCKET"
python3 -c 'import fcntl; fcntl.ioctl(open("instance/loop-control"), 0x4C80, 0)'
losetup "$PWD/instance/loop0" a.img
kernel_device=$(bound_devices)
[ -n "$kernel_device" ] || fail "nothing is bound"
unharmed() {
  assert_eq "$(bound_devices)" "$kernel_device" "$1: the bound device"
  assert_eq "$(dd if="/dev/$kernel_device" bs=512 count=1 iflag=direct status=none | head -c 7)" content "$1"
}
# refused NUMBER WHAT [COMMAND...]: a second daemon with numbers from there on, started by COMMAND.
refused() {
  local line
  rm -f second.log
  other_status=0
  timeout -k 5 60 "${@:3}" "$LOOPFSD" --socket "$PWD/second" --first-device "$1" >second.log 2>&1 || other_status=$?
  assert_eq "$other_status" 78 "$2: status; $(cat second.log)"
  line="kernel loop devices $1 to $(($1 + 99999)): another loopfsd has $first to $((first + 99999))"
  assert_eq "$(wc -l <second.log)" 1 "$2: lines"
  assert_match "$(cat second.log)" "$line"
  [ ! -e second ] || fail "$2: the socket is left"
  unharmed "$2"
}
refused $first "the same numbers, by hand, in the background"
refused $((first + 50000)) "some of the numbers, above"
refused $((first - 99999)) "one number"
NOTIFY_SOCKET=/none refused $first "in the foreground"
# Another mount namespace, with a /run and a /dev of its own, and loop-control made there.
# shellcheck disable=SC2016 # for the inner shell
refused $((first + 1)) "in a mount namespace" unshare --mount --propagation private bash -ec '
  mount -t tmpfs none /run
  mount -t tmpfs none /dev
  mknod /dev/loop-control c 10 237
  for name in null:3 zero:5 urandom:9; do mknod -m 0666 "/dev/${name%:*}" c 1 "${name#*:}"; done
  exec "$@"' bash
refused $first "in a container" unshare --mount --pid --fork --kill-child --net --ipc --uts --mount-proc
# The server is the keeper's child: without it, or with a new one, the numbers are still taken.
kill -STOP "$daemon_pid"
pkill -KILL -P "$daemon_pid"
refused $first "while there is no server"
kill -CONT "$daemon_pid"
has_server() { pgrep -P "$daemon_pid" loopfsd && [ "$(dd if=instance/loop0 bs=7 count=1 status=none)" = content ]; }
wait_for 15 has_server
refused $first "beside a new server"
kill -HUP "$daemon_pid"
was_ready() { [ "$(grep -c 'info. ready' "$TEST_FOLDER/run/log")" -ge "$1" ]; }
wait_for 15 was_ready 3
refused $first "after a reload"

# The numbers next to them are free.
"$LOOPFSD" --foreground --socket "$PWD/second" --first-device $((first + 100000)) 2>second.log &
other=$!
wait_for 15 grep -q ready second.log
unharmed "a neighbour"
kill "$other" && wait "$other"
other=

echo "== they are free when the daemon is not there any more, however it ended"
server=$(pgrep -P "$daemon_pid" loopfsd)
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || true
wait_for 10 test ! -e "/proc/$server" # it is killed with its keeper, and answers until then
start_daemon $first
trap end EXIT
wait_for 15 grep -q ready "$TEST_FOLDER/run/log"
umount -l instance
wait_for 5 none_bound
kill "$daemon_pid" && wait "$daemon_pid"
daemon_pid=
# Of two at once one serves. By hand, in the background, the command returns when it does.
for _ in 1 2 3; do
  for which in one two; do
    "$LOOPFSD" --socket "$PWD/$which" --pid-file "$PWD/$which.pid" --first-device $first 2>"$which.log" &
  done
  statuses=
  for pid in $(jobs -p); do
    status=0
    wait "$pid" || status=$?
    statuses="$statuses $status"
  done
  assert_eq "$(echo "$statuses" | xargs -n1 | sort -n | xargs)" "0 78" "of two that start at once"
  for which in one two; do
    [ ! -s $which.pid ] || other=$(cat $which.pid)
  done
  [ -n "$other" ] || fail "none serves"
  kill "$other"
  wait_for 10 test ! -d "/proc/$other"
  other=
done
