#!/usr/bin/env bash
# The command runs as if without a sandbox: its exit status, its streams, its environment, its folder.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"

# Exit status: the command's own, 128+n for a signal, 127 and 126 with one line that says why.
assert_status 0 sandbox -- true
assert_status 1 sandbox -- false
assert_status 255 sandbox -- sh -c 'exit 255'
# shellcheck disable=SC2016 # for the inner shell
for signal in TERM KILL INT SEGV; do
  assert_status $((128 + $(kill -l $signal))) sandbox -- sh -c 'ulimit -c 0; kill -'$signal' $$'
done
assert_status 127 sandbox -- no-such-command-here
assert_eq "$output" "loopfs: 'no-such-command-here': command not found"
assert_status 127 sandbox -- ./no-such-file
assert_eq "$output" "loopfs: './no-such-file': No such file or directory"
assert_status 126 sandbox -- /etc/passwd
assert_eq "$output" "loopfs: '/etc/passwd': Permission denied"
assert_status 126 sandbox -- /etc
printf '#!/no/such/interpreter\n' >script
chmod +x script
assert_status 127 sandbox -- ./script
assert_match "$output" 'interpreter is missing'
printf 'exit 9\n' >script # without a first line: a shell's
assert_status 9 sandbox -- ./script

# It ends with the command, not with what the command left running.
SECONDS=0
assert_status 4 sandbox -- sh -c 'sleep 60 & setsid sleep 60 & exit 4'
[ $SECONDS -lt 20 ] || fail "waited for a process that was left"

# Streams, further descriptors, environment, folder, mask.
assert_eq "$(echo in | sandbox -- cat)" in
assert_eq "$(sandbox -- sh -c 'echo out; echo err >&2' 2>/dev/null)" out
echo third >file
assert_eq "$(sandbox -- sh -c 'cat <&7' 7<file)" third
mkdir -p folder
assert_eq "$(cd folder && sandbox -- pwd)" "$PWD/folder"
assert_eq "$(umask 027 && sandbox -- sh -c umask)" 0027
# shellcheck disable=SC2016
assert_eq "$(env -i PATH="$PATH" A='b c' "$LOOPFS" run -- env | sort | grep -v '^_=')" "$(printf '%s\n' 'A=b c' "PATH=$PATH")"
# shellcheck disable=SC2016 # for the inner shell
assert_eq "$(sandbox -- sh -c 'echo "$#:$1:$2"' sh 'a  b' '')" '2:a  b:'

# Nothing of loopfs's own is open in it, no signal is blocked or ignored that was not before.
# shellcheck disable=SC2016
assert_eq "$(sandbox -- bash -c 'for f in /proc/self/fd/*; do readlink "$f"; done' | grep -E 'socket|fuse|pidfd|seccomp' || true)" ""
masks="grep -E '^Sig(Blk|Ign)' /proc/self/status"
assert_eq "$("$LOOPFS" run -- sh -c "$masks")" "$(sh -c "$masks")"
assert_eq "$(sh -c "trap '' HUP PIPE; \"\$0\" run -- sh -c \"$masks\"" "$LOOPFS")" "$(sh -c "trap '' HUP PIPE; $masks")"

# Root inside, pid 2 of its own namespace, with the usual nodes.
assert_eq "$(sandbox -- id -u)" 0
assert_eq "$(sandbox -- sh -c 'echo $$')" 2
# shellcheck disable=SC2016
sandbox -- bash -ec '
  for node in null zero full random urandom tty; do [ -c /dev/$node ]; done
  echo x >/dev/null
  [ "$(head -c 3 /dev/zero | wc -c)" = 3 ]
  [ "$(readlink /dev/fd)" = /proc/self/fd ]
  echo y | grep -q y /dev/stdin
  echo z >/dev/shm/file
  [ ! -e /dev/loop ] && [ ! -e /dev/vda ] && [ ! -e /dev/sda ]
  script -qec "echo from a pty" /dev/null | grep -q "from a pty"'
[ ! -e /dev/shm/file ] || fail "/dev/shm is not private"
