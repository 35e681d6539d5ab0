#!/usr/bin/env bash
# What a container has does not answer: its files, its memory, its processes (tests/isolation/stuck.cc). Nobody else waits
# for it: others have their answers as ever, the server is replaced, and ends.
# run-as: root
# serial: yes
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup python3
PROGRAMS=${LOOPFS%/*}/isolation
[ -x "$PROGRAMS/stuck" ] || skip "the programs of tests/isolation are not built"
chmod 0755 .
start_daemon 400000
# By the log: pgrep(1) and ps(1), too, wait for a process that hangs in execve(2).
servers() { grep -c '] ready$' "$TEST_FOLDER/run/log"; }
is_ready() { [ "$(servers)" = 1 ]; }
wait_for 10 is_ready
for name in a b; do truncate -s 64K $name.img && chmod 0666 $name.img; done
mkdir -m 0755 i
cat >inside.sh <<'IN'
set -eu
"$MOUNT_LOOPFS" none i -o "max=12,socket=$SOCKET"
"$@" # not the container's first process, whose end has to end all others
exit
IN
export MOUNT_LOOPFS SOCKET

# The others: an instance of somebody else's.
others_fine() {
  printf 'b;%.0s' $(seq 32768) >b.img
  timeout 60 "$PROGRAMS/container" 300000 bash inside.sh "$PROGRAMS/latency" i b.img 2 250 || fail "others are held up: $1"
}
replace_server() {
  kill -HUP "$daemon_pid"
  replaced() { [ "$(servers)" = 2 ]; }
  wait_for 10 replaced
}

for way in flush memory exec change freeze closing; do
  echo "== $way"
  mkdir -m 0777 "folder-$way"
  user=200000
  case $way in memory | change | freeze | closing) user=host ;; esac
  "$PROGRAMS/container" $user bash inside.sh "$PROGRAMS/stuck" $way i "folder-$way" a.img >"$way.log" 2>&1 &
  container=$!
  ended() { [ ! -e "/proc/$container" ] || grep -q '^State:.Z' "/proc/$container/status"; }
  stuck_or_ended() { grep -qx stuck "$way.log" || ended; }
  wait_for 20 stuck_or_ended
  grep -qx stuck "$way.log" || fail "$way: $(cat "$way.log")"
  others_fine "$way"
  replace_server
  others_fine "$way, after the server was replaced"
  # The end of the daemon, with somebody stuck.
  kill "$daemon_pid"
  wait_for 20 test ! -e "/proc/$daemon_pid/exe"
  wait "$daemon_pid" || fail "loopfsd ended with $?"
  kill -KILL $container 2>/dev/null || true
  wait $container || true
  start_daemon 400000
  wait_for 10 is_ready
done

echo "== nodes"
mkdir -m 0777 folder-nodes
timeout -k 5 60 "$PROGRAMS/container" 200000 bash inside.sh "$PROGRAMS/stuck" nodes i folder-nodes a.img || fail "nodes: $?"
others_fine nodes

echo "== partition"
timeout -k 5 60 "$PROGRAMS/container" 200000 bash inside.sh "$PROGRAMS/stuck" partition i folder-nodes a.img || fail "partition: $?"
wait_for 5 none_bound
no_devices() { ! compgen -G '/sys/block/loop4000*' >/dev/null; }
wait_for 20 no_devices
