#!/usr/bin/env bash
# Signals that a process sends to loopfs reach the command, once; stops are followed.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"

# The runner started us in the background, with SIGINT and SIGQUIT ignored.
loopfs() { exec env --default-signal=INT,QUIT "$LOOPFS" "$@"; }

# start SCRIPT: in a sandbox, as $job; returns when the script has written "ready" to ./said.
start() {
  : >said
  loopfs run -- bash -c "$1" >said 2>&1 &
  job=$!
  wait_for 20 grep -q ready said
}
finished() { # STATUS
  local status=0
  wait "$job" || status=$?
  assert_eq "$status" "$1" "exit status; it said: $(tr '\n' ' ' <said)"
}
says() { grep -q "$1" said; }

for signal in TERM HUP INT QUIT USR1 USR2 WINCH CONT; do
  start "trap 'n=\$((n+1))' $signal; trap 'echo count=\$n; exit 42' ALRM
    echo ready; while :; do read -r -t 0.05 <> <(:); [ -n \"\$n\" ] && kill -ALRM \$\$; done"
  kill -$signal $job
  finished 42
  says count=1 || fail "$signal: $(cat said)"
done

# Without a handler it ends by the signal, and loopfs with it.
for signal in TERM HUP INT USR1; do
  start 'echo ready; exec sleep 60'
  kill -$signal $job
  finished $((128 + $(kill -l $signal)))
done

# A signal that comes while the sandbox is being made ends it; nothing hangs, nothing starts afterwards. Before it is
# loopfs, the job is a shell with a trap, which forgets at exec a signal that it has not acted on yet.
is_loopfs() { [ "$(cat "/proc/$job/comm")" = "${LOOPFS##*/}" ]; }
for delay in 0 0.002 0.004 0.006 0.008 0.01 0.015 0.02; do
  loopfs run -- sleep 60 &
  job=$!
  wait_for 20 is_loopfs
  read -r -t $delay <> <(:) || true
  kill -TERM $job
  finished 143
done

# nohup: what the caller ignores stays ignored.
: >said
(trap '' HUP; exec "$LOOPFS" run -- bash -c 'echo ready; read -r -t 0.5 <> <(:); echo survived' >said) &
job=$!
wait_for 20 says ready
kill -HUP $job
finished 0
says survived

# The command stops: loopfs stops with it, and continues with it.
state() { awk '{print $3}' "/proc/$job/stat"; }
is_state() { [ "$(state)" = "$1" ]; }
start 'echo ready; kill -STOP $$; echo continued; exit 3'
wait_for 20 is_state T
kill -CONT $job
finished 3
says continued
