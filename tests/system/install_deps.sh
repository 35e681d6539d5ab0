#!/usr/bin/env bash
# scripts/install-deps waits for the locks of another apt, whichever these are, and says so. apt's folders are the test's own.
# run-as: root
. "$(dirname "$0")/lib.sh"
require apt-get python3

mkdir -p state/lists/partial cache/archives/partial dpkg/info dpkg/updates bin
# Everything is installed, as far as install-deps knows, but one package: that is where apt comes in. apt knows better.
cp /var/lib/dpkg/status dpkg/status
installed=$(dpkg-query -W -f '${db:Status-Status}:${Package}\n' | grep '^installed:')
absent="make"
grep -qx "installed:$absent" <<<"$installed" || skip "$absent is not installed"
grep -vx "installed:$absent" <<<"$installed" >listed
printf '#!/bin/sh\ncat "%s/listed" "%s/others"\n' "$PWD" "$PWD" >bin/dpkg-query
sed -n '/^build=(/,/)/p' "$LOOPFS_SOURCE/scripts/install-deps" | tr -d '()' | sed 's/^build=//' | xargs -n1 |
  grep -vx $absent | sed 's/^/installed:/' >others
chmod +x bin/dpkg-query
: >sources
cat >apt.conf <<END
Dir::State "$PWD/state";
Dir::State::status "$PWD/dpkg/status";
Dir::Cache "$PWD/cache";
Dir::Etc::sourcelist "$PWD/sources";
Dir::Etc::sourceparts "-";
END
install_deps() { APT_CONFIG=$PWD/apt.conf PATH=$PWD/bin:$PATH timeout -k 5 240 "$LOOPFS_SOURCE/scripts/install-deps" build; }

assert_status 0 install_deps
assert_match "$output" "installing $absent$"
assert_no_match "$output" waiting

for lock in state/lists/lock dpkg/lock-frontend cache/archives/lock; do
  [ -e $lock ] || : >$lock
  python3 -c 'import fcntl, sys
with open(sys.argv[1], "r+") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()' $lock < <(wait_for 60 grep -qs waiting log) >held &
  holder=$!
  wait_for 10 grep -q held held
  install_deps >log 2>&1 || fail "$lock: $(<log)"
  wait $holder
  assert_match "$(<log)" "waiting for another apt: .*$lock"
  assert_no_match "$(<log)" failed
  rm log held
done
# For ever it does not wait.
python3 -c 'import fcntl, sys
with open(sys.argv[1], "r+") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()' dpkg/lock-frontend < <(wait_for 60 test -e given-up) >held &
wait_for 10 grep -q held held
INSTALL_DEPS_PATIENCE=1 assert_status 100 install_deps
assert_match "$output" 'Could not get lock'
: >given-up
wait
