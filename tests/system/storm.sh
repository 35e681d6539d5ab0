#!/usr/bin/env bash
# Instances of many users begin and end, all at once and by SIGKILL, with their devices open, bound and busy, while others
# ask the daemon and its server is killed and replaced: nothing is left, the keeper is the same, no server ends by itself.
# STORM_TENANTS: at once (16). STORM_SECONDS (12). STORM_OPENS: of free devices, for each tenant (128).
# STORM_PROGRAMS: a folder with another loopfsd and mount.loopfs, as scripts/test-sanitized has them.
# run-as: root
# serial: yes
# timeout: 120
. "$(dirname "$0")/lib.sh"
for program in loopfsd mount.loopfs; do
  [ ! -x "${STORM_PROGRAMS:-}/$program" ] || install -m 0755 "$STORM_PROGRAMS/$program" "${LOOPFS%/*}/"
done
. "$(dirname "$0")/loopfsd_lib.sh"
require python3 setpriv unshare
TENANT=${LOOPFS%/*}/isolation/storm_tenant
[ -x "$TENANT" ] || skip "the programs of tests/isolation are not built"
tenants=${STORM_TENANTS:-16}
first_user=310000
chmod 0755 .
start_daemon 700000
keeper=$daemon_pid
server() { tr -d ' ' <"/proc/$keeper/task/$keeper/children"; }
wait_for 10 server
current=$(server)
counted() { timeout 20 python3 "$TEST_FOLDER/tests/system/helpers/daemon_steps.py" --ask "$SOCKET" Counts; }
no_instances() { [[ $(counted) == *'"instances": 0'* ]]; }
wait_for 30 no_instances

# Those who ask. Between two servers they get nothing.
asking=()
trap 'kill "${asking[@]}" 2>/dev/null || true; end_daemon' EXIT
ask_forever() { while :; do timeout 10 "$LOOPFS" "$@" --socket "$SOCKET" >/dev/null 2>&1 || true; done; }
ask_forever ls --json & asking+=($!)
ask_forever limit & asking+=($!)
ask_forever events & asking+=($!)
ask_forever events --json & asking+=($!)

mkfifo said
exec {said}<>said
for ((i = 0; i < tenants; i++)); do install -d -m 0700 -o $((first_user + i)) "tenant$i"; done
pids=()
begin() {
  local i user
  pids=()
  for ((i = 0; i < tenants; i++)); do
    user=$((first_user + i))
    env -C "tenant$i" setpriv --reuid=$user --regid=$user --clear-groups unshare -Urm --propagation private \
      "$TENANT" "$MOUNT_LOOPFS" "$SOCKET" "${STORM_OPENS:-128}" 1>&"$said" 2>>"$TEST_FOLDER/run/tenants" &
    pids+=($!)
  done
}
# ready N: until so many have begun. One whose server was killed in the middle may fail.
ready() {
  local i line
  for ((i = 0; i < $1; i++)); do
    read -r -t 60 line <&"$said" || fail "only $i of $1 have begun: $(tail -n 3 "$TEST_FOLDER/run/tenants")"
    [ "$line" = ready ] || fail "a tenant said: $line"
  done
}
end_all() {
  kill -KILL "${pids[@]}" 2>/dev/null || true
  wait "${pids[@]}" 2>/dev/null || true
  while read -r -t 0 <&"$said"; do read -r <&"$said"; done
}
new_server() { local now; now=$(server) && [ -n "$now" ] && [ "$now" != "$current" ]; }
replace() { # SIGNAL PROCESS
  kill "-$1" "$2"
  wait_for 30 new_server
  current=$(server)
}

end=$((SECONDS + ${STORM_SECONDS:-12}))
rounds=0
while [ $SECONDS -lt $end ] || [ $rounds -lt 4 ]; do
  begin
  case $((rounds % 4)) in
    0) ready "$tenants" ;;
    1) ready $((tenants / 2)) ;; # the others are somewhere on their way
    2) ready "$tenants" && replace HUP "$keeper" ;;
    3) ready "$tenants" && replace KILL "$current" ;;
  esac
  end_all
  assert_eq "$(server)" "$current" "the server that we know"
  rounds=$((rounds + 1))
done
wait_for 30 no_instances
wait_for 30 none_bound
assert_eq "$(server)" "$current" "the server that we know"
kill -0 "$keeper"
echo "$rounds rounds of $tenants tenants in $SECONDS s"
