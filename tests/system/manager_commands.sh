#!/usr/bin/env bash
# loopfs ls, inspect, events, limit, attach and detach with a loopfsd of the test's own: what they print and how they
# fail; a user namespace sees its own instances and no others; events come in order; limits hold; names that a
# container chose do nothing to a terminal.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
require losetup mke2fs sfdisk python3 unshare nsenter timeout
[ -c /dev/loop-control ] || unavailable "no /dev/loop-control"
programs=$(dirname "$LOOPFS")
for program in loopfsd mount.loopfs; do
  [ -x "$programs/$program" ] || skip "$program is not built beside loopfs"
done

first=300000
while [ -n "$(find /sys/block -name "loop$((first / 100))[0-9][0-9]" -print -quit)" ]; do first=$((first + 100)); done
socket=$PWD/socket
pids=() # of what is still running, newest last

stop() { # stop PID: ends it, and waits for that
  kill -TERM "$1" 2>/dev/null || true
  timeout 10 tail --pid="$1" -f /dev/null || kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

remove_kernel_devices() {
  local device number
  for device in /sys/block/loop$((first / 100))[0-9][0-9]; do
    number=${device##*/loop}
    [ -e "$device" ] || continue
    [ ! -e "$device/loop" ] || losetup -d "/dev/loop$number" || true
    python3 -c 'import fcntl, sys; fcntl.ioctl(open("/dev/loop-control"), 0x4C81, int(sys.argv[1]))' "$number" || true
  done
}

cleanup() {
  local i
  for ((i = ${#pids[@]} - 1; i > 0; i--)); do stop "${pids[i]}"; done
  for i in probe instance; do ! mountpoint -q $i || umount -l $i; done
  [ ${#pids[@]} -eq 0 ] || stop "${pids[0]}"
  remove_kernel_devices
}
trap cleanup EXIT

daemon() { # loopfs, asking the test's daemon
  local command=$1
  shift
  timeout 30 "$LOOPFS" "$command" --socket "$socket" "$@"
}
attach() { timeout 30 "$LOOPFS" attach --instance "$PWD/instance" "$@"; }
detach() { timeout 30 "$LOOPFS" detach --instance "$PWD/instance" "$@"; }
answers() { timeout 5 "$LOOPFS" ls --socket "$socket"; }
one_line() { # of the last assert_status
  assert_eq "$(wc -l <<<"$output")" 1 "one line"
  assert_match "$output" "$1"
}

# Without a daemon
for command in ls events limit 'inspect 1'; do
  # shellcheck disable=SC2086 # words
  assert_status 1 "$LOOPFS" $command --socket "$socket"
  one_line "^loopfs: ${command%% *}: connect '$socket': No such file or directory \(is loopfsd running\?\)$"
done
assert_status 1 "$LOOPFS" attach --instance "$PWD" /dev/null
one_line "^loopfs: attach '/dev/null': open '$PWD/loop-control': No such file or directory$"
assert_status 0 "$LOOPFS" doctor --socket "$socket"
assert_match "$output" '^- +loopfsd +not running'
assert_match "$output" '^OK +clearing in use '

"$programs/loopfsd" --foreground --socket "$socket" --pid-file "$PWD/pid" --first-device "$first" >daemon.log 2>&1 &
pids+=($!)
wait_for 20 answers
assert_status 0 "$LOOPFS" doctor --socket "$socket"
assert_match "$output" '^OK +loopfsd +answers, version [0-9]'
assert_match "$output" '^OK +/dev/loop-control '

# An instance, and nothing on it. Events are followed from the first one that is seen on.
"$LOOPFS" events --socket "$socket" >events.txt 2>events.end &
pids+=($!)
"$LOOPFS" events --socket "$socket" --json >events.json 2>/dev/null &
pids+=($!)
mkdir probe instance
both_follow() {
  { mountpoint -q probe || "$programs/mount.loopfs" none "$PWD/probe" -o "socket=$socket"; } && umount probe &&
    grep -q mount events.txt && grep -q mount events.json
}
wait_for 20 both_follow
"$programs/mount.loopfs" none "$PWD/instance" -o "max=6,socket=$socket"
assert_status 0 daemon ls
id=$(awk 'NR == 2 {print $1}' <<<"$output")
assert_match "$output" '^INSTANCE +OWNER DEVICE KERNEL-DEVICE +SIZE OFFSET RO AUTOCLEAR DIO BACK-FILE$'
assert_match "$output" "^ *$id +0 -  *-  *-  *-  *-  *-  *- -$"

# Devices: read-only, with an offset and a size, with partitions, with a name that no terminal should see
truncate -s 4M plain.img
truncate -s 8M parts.img
truncate -s 1M hostile.img
printf 'label: gpt\nsize=2M\nsize=2M\n' | sfdisk -q parts.img
hostile=$'\xff\n\x1b[2J\xe2\x80\xae.img' # the last is U+202E
mv hostile.img "$hostile"
assert_eq "$(attach plain.img)" "$PWD/instance/loop0"
assert_eq "$(attach --read-only --offset 1M --sizelimit 4K plain.img)" "$PWD/instance/loop1"
assert_eq "$(attach --partscan --direct-io off --block-size 512 parts.img)" "$PWD/instance/loop2"
assert_eq "$(attach "$hostile")" "$PWD/instance/loop3"
mke2fs -q "$PWD/instance/loop0"
assert_eq "$(od -An -tx1 -j1080 -N2 plain.img)" " 53 ef" "the file system is in the file"

assert_status 0 daemon ls
assert_match "$output" "^ *$id +0 loop0 +loop[0-9]+ +4194304 +0 +0 +0 +[01] $PWD/plain.img$"
assert_match "$output" "^ *$id +0 loop1 +loop[0-9]+ +4096 +1048576 +1 +0 +[01] $PWD/plain.img$"
assert_match "$output" "^ *$id +0 loop2 +loop[0-9]+ +8388608 +0 +0 +0 +0 $PWD/parts.img$"
assert_match "$output" ' loop3 .*/\\xff\\x0a\\x1b\[2J\\u202e\.img$'
assert_eq "$(tr -d '\n' <<<"$output" | tr -d '[:print:]' | wc -c)" 0 "printable"
assert_eq "$(wc -l <<<"$output")" 5 "title and devices"

assert_status 0 daemon inspect "$id"
assert_match "$output" "^instance: $id$"
assert_match "$output" '^  backing file: .*/\\xff\\x0a\\x1b\[2J\\u202e\.img$'
assert_match "$output" '^  partition loop2p1 \([0-9]+:[0-9]+\)$'
assert_match "$output" '^    start: 1048576$'
assert_status 1 daemon inspect 4000000000
one_line '^loopfs: inspect: instance 4000000000: No such file or directory$'

daemon ls --json >all.json
daemon inspect --json "$id" >one.json
python3 - "$id" "$PWD" <<'PYTHON'
import json, os, sys
number, folder = int(sys.argv[1]), sys.argv[2]
for name in "all.json", "one.json":
    assert all(byte == 10 or 32 <= byte < 127 for byte in open(name, "rb").read()), name
[instance] = json.load(open("all.json"))["instances"]
assert instance == json.load(open("one.json")), "inspect is of ls"
assert (instance["id"], instance["owner"], instance["max"]) == (number, 0, 6), instance
bound = {d["number"]: d for d in instance["devices"] if "kernel_device" in d}
assert sorted(bound) == [0, 1, 2, 3], bound
assert bound[0]["backing_file"] == folder + "/plain.img" and not bound[0]["read_only"]
assert bound[1]["read_only"] and bound[1]["offset"] == 1 << 20 and bound[1]["size"] == 4096
assert [p["start"] for p in bound[2]["partitions"]] == [1 << 20, 3 << 20], bound[2]["partitions"]
assert bound[3]["backing_file"] == folder + "/\\xff\n\x1b[2J\u202e.img", bound[3]
PYTHON

# Mistakes
assert_status 1 attach nothing.img
one_line "^loopfs: attach 'nothing.img': open: No such file or directory$"
assert_status 1 attach --block-size 3K plain.img
one_line "^loopfs: attach 'plain.img': .*Invalid argument$"
assert_status 1 detach loop9
assert_status 1 detach "$PWD"
one_line "^loopfs: detach '$PWD': neither a loop device nor a file: Invalid argument$"
assert_status 1 detach "$LOOPFS"
one_line "^loopfs: detach '$LOOPFS': no device in .* has this file: No such device or address$"

# By name, by path, by file: both devices of plain.img. The daemon tells of a clear when it notices it.
told_clear() { grep -q " clear instance $id $1 " events.txt; }
detach loop3
wait_for 10 told_clear loop3
detach "$PWD/instance/loop2"
wait_for 10 told_clear loop2
detach plain.img
assert_status 1 detach loop0
one_line "^loopfs: detach 'loop0': LOOP_CLR_FD: No such device or address$"
assert_no_match "$(daemon ls)" 'plain.img|parts.img'
assert_match "$(daemon ls --all)" "^ *$id +0 loop0 +- "

# Events: of each device bind before clear, and as they were bound
followed() { [ "$(grep -c " clear instance $id " events.txt)" -ge 4 ] && [ "$(grep -c clear events.json)" -ge 4 ]; }
wait_for 10 followed
assert_eq "$(grep -E " (bind) instance $id " events.txt | awk '{print $5}' | xargs)" 'loop0 loop1 loop2 loop3'
assert_eq "$(grep -E " (clear) instance $id " events.txt | awk '{print $5}' | xargs)" 'loop3 loop2 loop0 loop1'
assert_no_match "$(<events.txt)" ' lost '
python3 - "$id" <<'PYTHON'
import json, sys
events = [json.loads(line) for line in open("events.json")]
mine = [event for event in events if event["instance"] == int(sys.argv[1])]
assert mine[0]["what"] == "mount", mine
assert [e["microseconds"] for e in mine] == sorted(e["microseconds"] for e in mine)
for device in range(4):
    assert [e["what"] for e in mine if e.get("device") == device and e["what"] != "add"] == ["bind", "clear"], mine
assert all(event["lost"] == 0 for event in events)
PYTHON

# A second user namespace sees its own instance, and not root's; root sees both
# shellcheck disable=SC2016 # for the inner shell
unshare -Urm --propagation private bash -c '
  mkdir -p theirs && "$1/mount.loopfs" none "$PWD/theirs" -o "socket=$2" && touch theirs.ready && exec sleep infinity' \
  bash "$programs" "$socket" &
tenant=$!
pids+=("$tenant")
wait_for 20 test -e theirs.ready
in_tenant() { nsenter -t "$tenant" -U -m --preserve-credentials env -C "$PWD" timeout 30 "$LOOPFS" "$@"; }
truncate -s 1M theirs.img
assert_eq "$(in_tenant attach --instance theirs theirs.img)" theirs/loop0
attach plain.img >/dev/null
assert_status 0 in_tenant ls --socket "$socket"
assert_match "$output" ' loop0 .*/theirs.img$'
assert_no_match "$output" 'plain.img'
assert_eq "$(wc -l <<<"$output")" 2 "title and one device"
assert_status 1 in_tenant inspect "$id" --socket "$socket"
assert_status 1 in_tenant limit --socket "$socket" --uid 0 5
one_line '^loopfs: limit: .*Operation not permitted$'
assert_status 0 in_tenant limit --socket "$socket"
assert_match "$output" '^devices +[0-9]+ +0 +1 '
assert_eq "$(wc -l <<<"$output")" 3 "title, devices, instances"
assert_status 0 daemon ls
assert_match "$output" 'theirs.img$'
assert_match "$output" 'plain.img$'
in_tenant detach --instance theirs loop0
stop "$tenant"
unset 'pids[-1]'
gone() { [ "$(daemon ls | wc -l)" -eq 2 ]; }
wait_for 20 gone

# Limits: the third device of an instance is refused at two
detach loop0
umount instance
"$programs/mount.loopfs" none "$PWD/instance" -o "socket=$socket"
daemon limit --uid 0 2
assert_match "$(daemon limit)" '^devices +[0-9]+ +0 +0 +2$'
attach plain.img >/dev/null
attach parts.img >/dev/null
assert_match "$(daemon limit)" '^devices +[0-9]+ +0 +2 +2$'
assert_status 1 attach "$hostile"
assert_match "$output" 'No space left on device$'
daemon limit --json | python3 -c '
import json, sys
limits = json.load(sys.stdin)
[devices] = [entry for entry in limits["devices"] if entry["uid"] == 0]
assert (devices["used"], devices["limit"]) == (2, 2), limits
assert limits["instances"][0]["used"] == 1, limits'
daemon limit --uid 0 default
attach "$hostile" >/dev/null
daemon limit --kind instances --uid 0 1
assert_status 32 "$programs/mount.loopfs" none "$PWD/probe" -o "socket=$socket"
daemon limit --kind instances --uid 0 default
for device in loop0 loop1 loop2; do detach "$device"; done
umount instance

# The daemon ends: so do those who follow it, and say why
stop "${pids[0]}"
status=0
wait "${pids[1]}" || status=$?
assert_eq "$status" 1
assert_match "$(<events.end)" '^loopfs: events: .*closed by the service'
pids=()
