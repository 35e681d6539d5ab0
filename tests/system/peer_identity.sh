#!/usr/bin/env bash
# Who asks loopfsd is who connected: a process that leaves its connection to another and executes a set-uid program, a set-gid
# one, one with file capabilities or one that hands on ambient ones, is worth no more than it was; on the host and in
# containers with and without a user namespace, whether the program is executed before the daemon looks or after.
# run-as: root
# serial: yes
# timeout: 180
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup mkfs.ext4 sfdisk setpriv setcap python3 pgrep
CONTAINER=${LOOPFS%/*}/isolation/container
[ -x "$CONTAINER" ] || skip "the programs of tests/isolation are not built"
helper=$TEST_FOLDER/tests/system/helpers/stand_in_peer.py
chmod 0755 .
printf '[mount]\ndefault = "kernel"\n' >config.toml
start_daemon 410000 config.toml
answers() { "$LOOPFS" ls --socket "$SOCKET"; }
wait_for 20 answers
server=$(pgrep -P "$daemon_pid" loopfsd)

# What is to be had: an instance of the machine's root with a file of another user's that nobody else may read, and a device
# with a partition.
mkdir instance
unmount() {
  local status=$?
  kill -CONT "$server" 2>/dev/null || true
  ! mountpoint -q instance || umount -l instance
  (exit $status) || { sed 's/^/loopfsd: /' "$TEST_FOLDER/run/log" >&2; end_daemon; exit $status; }
  end_daemon
}
"$MOUNT_LOOPFS" none "$PWD/instance" -o "max=4,socket=$SOCKET"
trap unmount EXIT
truncate -s 16M secret.img parts.img
mkfs.ext4 -q secret.img
printf 'label: gpt\nsize=4M\n' | sfdisk -q parts.img
chown 54321:54321 secret.img
chmod 0600 secret.img
"$LOOPFS" attach --instance "$PWD/instance" secret.img >/dev/null
"$LOOPFS" attach --instance "$PWD/instance" --partscan parts.img >/dev/null
id=$("$LOOPFS" ls --socket "$SOCKET" | awk 'NR == 2 {print $1}')
partition_is_there() { test -b "$PWD/instance/loop1p1"; }
partition_is_there

# --- Programs that give more than their caller has. In a container its own root makes them. ---

make_programs() { # FOLDER
  # shellcheck disable=SC2174 # one folder; if it is there already, it is not ours to change
  mkdir -p -m 0755 "$1"
  for name in plain set-uid set-gid capable hands-on; do cp /bin/cat "$1/$name"; done
  chmod 4755 "$1/set-uid"
  chmod 2755 "$1/set-gid"
  setcap cap_sys_admin+ep "$1/capable"
  cp "$(command -v setpriv)" "$1/hands-on"
  setcap cap_sys_admin+ep "$1/hands-on"
}
arguments_of() { [ "$1" != hands-on ] || echo --inh-caps +sys_admin --ambient-caps +sys_admin /bin/cat; }

# peer UID MOMENT PROGRAM...: what is answered to the child.
peer() {
  setpriv "--reuid=$1" "--regid=$1" --clear-groups timeout 60 /usr/bin/python3 "$helper" "$SOCKET" "$id" "${@:2}"
}
# in_pause CMD...: with the daemon asleep until the program is executed.
in_pause() {
  rm -f work/executed
  kill -STOP "$server"
  (cd work && "$@") >answers.log 2>&1 &
  local pid=$!
  wait_for 20 test -e work/executed
  kill -CONT "$server"
  wait $pid || fail "$(cat answers.log)"
  cat answers.log
}
mkdir -m 0777 work
at_once() { (cd work && rm -f executed && "$@"); }

nothing="List nothing Limits ok SetLimit EPERM Mount EPERM MountFilesystem ENOENT EditPartition ENOENT Ioctl ENOENT"
failures=
expect() { # WHAT ANSWERS WANTED
  local got
  got=$(xargs <<<"$2")
  [ "$got" = "$3" ] || { printf '%s\n  got:      %s\n  expected: %s\n' "$1" "$got" "$3"; failures=1; }
}

each_program() { # WHERE UID CMD...: CMD is how to get there
  local where=$1 user=$2 name words
  for name in plain set-uid set-gid capable hands-on; do
    words=$(arguments_of $name)
    # shellcheck disable=SC2086 # words
    expect "$where: $name, executed after a call" "$(at_once "${@:3}" "$user" later "$PWD/$where/$name" $words 2>&1)" "$nothing"
    # shellcheck disable=SC2086
    expect "$where: $name, executed before the daemon looks" "$(in_pause "${@:3}" "$user" first "$PWD/$where/$name" $words)" "$nothing"
  done
}

make_programs host
setpriv --reuid=12345 --regid=12345 --clear-groups host/capable /proc/self/status | grep -q '^CapEff:.*200000$' ||
  skip "file capabilities do nothing here"
setpriv --reuid=12345 --regid=12345 --clear-groups host/hands-on --inh-caps +sys_admin --ambient-caps +sys_admin \
  cat /proc/self/status | grep -q '^CapEff:.*200000$' || fail "ambient capabilities are not handed on"
each_program host 12345 peer

# As user 1000 of a container whose root is 200000, and of one that has the host's user namespace.
inside() { # CONTAINER'S-ROOT USER MOMENT PROGRAM...
  "$CONTAINER" "$1" setpriv "--reuid=$2" "--regid=$2" --clear-groups timeout 60 /usr/bin/python3 "$helper" "$SOCKET" "$id" "${@:3}"
}
mkdir -m 0777 mapped
"$CONTAINER" 200000 bash -ec "$(declare -f make_programs); make_programs '$PWD/mapped'"
each_program mapped 1000 inside 200000
each_program host 12345 inside host

# --- What is as it was: root's connection is root's, whoever holds it and whatever becomes of the process. ---

all="List ok Limits ok SetLimit ok Mount ok MountFilesystem ok"
of_root() { head -n 5 <<<"$1"; }
expect "root, who executes a program" "$(of_root "$(at_once peer 0 later /bin/cat)")" "$all"
partition_is_gone() { ! partition_is_there; }
wait_for 5 partition_is_gone
expect "root, who has gone" "$(of_root "$(at_once peer 0 later-ends)")" "$all"
expect "root, who has gone before the daemon looked" "$(of_root "$(in_pause peer 0 ends)" | awk '{print $2}' | sort -u)" "EPIPE ESRCH"
[ -z "$failures" ] || fail "see above"
