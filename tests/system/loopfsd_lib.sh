# shellcheck shell=bash
# For tests of the daemon: sourced after lib.sh, as root.
LOOPFSD=${LOOPFS%/*}/loopfsd
MOUNT_LOOPFS=${LOOPFS%/*}/mount.loopfs
for program in "$LOOPFSD" "$MOUNT_LOOPFS"; do [ -x "$program" ] || skip "$program is not built"; done
[ -c /dev/loop-control ] || skip "no loop devices on this machine"
! "$LOOPFS" doctor | grep -q 'loopfsd refuses this kernel' || skip "loopfsd refuses this kernel"
SOCKET=$TEST_FOLDER/run/manager
mkdir -p "$TEST_FOLDER/run"
chmod 0755 "$TEST_FOLDER/run"
daemon_pid=

# start_daemon FIRST-DEVICE [CONFIG]: the numbers of its kernel devices begin there; each test has its own.
start_daemon() {
  first_device=$1
  "$LOOPFSD" --foreground --socket "$SOCKET" --first-device "$1" ${2:+--config "$2"} 2>"$TEST_FOLDER/run/log" &
  daemon_pid=$!
  trap end_daemon EXIT
  wait_for 10 test -S "$SOCKET"
}

end_daemon() {
  local status=$?
  [ -z "$daemon_pid" ] || { kill "$daemon_pid" 2>/dev/null || true; wait "$daemon_pid" || true; }
  [ $status -eq 0 ] || sed 's/^/loopfsd: /' "$TEST_FOLDER/run/log" >&2
}

# The kernel devices of this test's daemon that are bound.
bound_devices() {
  local device number
  for device in /sys/block/loop*/loop; do
    number=${device#/sys/block/loop}
    number=${number%/loop}
    [ "$number" != "*" ] && [ "$number" -ge "$first_device" ] && [ "$number" -lt $((first_device + 1000)) ] && echo "loop$number"
  done
  true
}
none_bound() { [ -z "$(bound_devices)" ]; }
