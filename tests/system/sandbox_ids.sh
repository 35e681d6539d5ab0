#!/usr/bin/env bash
# The ids of a sandbox: a user's subordinate range by newuidmap, or a single id; every id of root.
# run-as: root
. "$(dirname "$0")/lib.sh"
require newuidmap newgidmap unshare setpriv

# Runs a script in a mount namespace with /etc/subuid and /etc/subgid of its own.
with_ranges() { # SUBUID SUBGID SCRIPT
  printf '%s' "$1" >subuid
  printf '%s' "$2" >subgid
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -euc '
    mount --bind subuid /etc/subuid
    mount --bind subgid /etc/subgid
    nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
    eval "$1"' bash "$3"
}
# shellcheck disable=SC2016 # awk's
map='awk "{print \$1, \$2, \$3}" /proc/self/uid_map /proc/self/gid_map'
uid=$(id -u nobody)
gid=$(id -g nobody)
single=$(printf '0 %s 1\n0 %s 1' "$uid" "$gid")

# By name and by number; several ranges come one behind the other.
assert_eq "$(with_ranges $'x:1:5\nnobody:200000:65536\n' "$uid:300000:1000"$'\n'"nobody:500000:10" \
  "nobody \"\$LOOPFS\" run -- sh -c '$map'")" \
  "$(printf '0 %s 1\n1 200000 65536\n0 %s 1\n1 300000 1000\n1001 500000 10' "$uid" "$gid")"
# They are real: files can be given away, users changed, groups set.
# shellcheck disable=SC2016 # for the inner shell
with_ranges nobody:200000:65536 nobody:200000:65536 'nobody "$LOOPFS" run -- bash -euc "
  touch /dev/shm/file && chown 5:7 /dev/shm/file && [ \$(stat -c %u:%g /dev/shm/file) = 5:7 ]
  [ \"\$(setpriv --reuid=5 --regid=7 --groups=8,9 id -G)\" = \"7 8 9\" ]
  setpriv --reuid=5 --regid=7 --clear-groups sh -c \"echo x >/dev/null\""'

# No range, half of one, a useless one, a helper without its privilege: a single id.
assert_eq "$(with_ranges '' '' "nobody \"\$LOOPFS\" run -- sh -c '$map'" 2>&1)" "$single"
assert_eq "$(with_ranges nobody:200000:65536 '' "nobody \"\$LOOPFS\" run -- sh -c '$map'" 2>&1)" "$single"
assert_eq "$(with_ranges nobody:200000:65536 nobody:200000:65536 \
  "nobody --no-new-privs \"\$LOOPFS\" run -- sh -c '$map'" 2>&1)" "$single"
output=$(with_ranges "nobody:$uid:5" "nobody:$gid:5" "nobody \"\$LOOPFS\" run -- sh -c '$map'" 2>said)
assert_eq "$output" "$single"
assert_match "$(cat said)" '^loopfs: newuidmap: .*single user id'
assert_eq "$(wc -l <said)" 1
# shellcheck disable=SC2016
assert_eq "$(with_ranges '' '' 'nobody "$LOOPFS" run -- cat /proc/self/setgroups')" deny

# Root has all that it has, also one sandbox further in.
own="awk '{print \$1, \$1, \$3}' /proc/self/uid_map /proc/self/gid_map"
expected=$(sh -c "$own")
assert_eq "$(sandbox -- sh -c "$map")" "$expected"
assert_eq "$(sandbox -- "$LOOPFS" run -- sh -c "$map")" "$expected"
assert_eq "$(with_ranges nobody:200000:100 nobody:200000:100 "nobody \"\$LOOPFS\" run -- \"\$LOOPFS\" run -- sh -c '$map'")" \
  "$(printf '0 0 1\n1 1 100\n0 0 1\n1 1 100')"
