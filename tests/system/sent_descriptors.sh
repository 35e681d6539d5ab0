#!/usr/bin/env bash
# Descriptors that a container sends to loopfsd, of a file that nobody can close without waiting for its FUSE server, which answers
# nothing: the others are served, and the server is replaced, and ends, as if there were none.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require pgrep
PROGRAMS=${LOOPFS%/*}/isolation
[ -x "$PROGRAMS/sent_descriptors" ] || skip "the programs of tests/isolation are not built"
chmod 0755 .
mkdir -m 0777 shared
start_daemon 411000
answers() { timeout 5 "$LOOPFS" ls --socket "$SOCKET"; }
wait_for 20 answers
server() { pgrep -P "$daemon_pid" loopfsd; }
has_new_server() { local now; now=$(server) && [ "$now" != "$1" ] && answers; }

mkfifo hold
exec 3<>hold
"$PROGRAMS/container" 200000 "$PROGRAMS/sent_descriptors" "$SOCKET" shared 4 <hold >sent 3>&- &
container=$!
end() {
  local status=$?
  kill -KILL $container 2>/dev/null || true
  (exit $status) || { end_daemon; exit $status; }
  end_daemon
}
trap end EXIT
wait_for 20 grep -q 'let in' sent
cat sent
answers >/dev/null || fail "the others are not served"
old=$(server)
kill -HUP "$daemon_pid"
wait_for 3 has_new_server "$old"
wait_for 3 test ! -e "/proc/$old"
answers >/dev/null
kill -TERM "$daemon_pid"
wait_for 3 test ! -e "/proc/$daemon_pid/fd/0"
daemon_pid=
exec 3>&-
