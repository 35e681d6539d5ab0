#!/usr/bin/env bash
# One container opens what it can get, in many instances: it has its share, and others and root have theirs.
# run-as: root
# serial: yes
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require python3 losetup
PROGRAMS=${LOOPFS%/*}/isolation
[ -x "$PROGRAMS/container" ] || skip "the programs of tests/isolation are not built"
chmod 0755 .
start_daemon 400000
export MOUNT_LOOPFS SOCKET
share=16384 instances=20
mkdir -m 0777 greedy modest
cat >greedy.py <<'IN'
import errno, fcntl, os, subprocess, sys
opened, refused = 0, 0
read_end, write_end = os.pipe()
for number in range(int(sys.argv[1])):
    place = f"greedy/{number}"
    os.mkdir(place)
    subprocess.run([os.environ["MOUNT_LOOPFS"], "none", place, "-o", "max=1,socket=" + os.environ["SOCKET"]], check=True)
    try:
        with open(place + "/loop-control") as control:
            fcntl.ioctl(control, 0x4C82)
    except OSError as error:
        assert error.errno == errno.ENFILE, error
        refused += 1
        continue
    if os.fork() > 0:  # each process has a table of its own
        count = int.from_bytes(os.read(read_end, 4), "little")
        opened += count
        refused += count < 1000
        continue
    files = []
    try:
        while len(files) < 1000:
            files.append(os.open(place + "/loop0", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.ENFILE, error
    os.write(write_end, len(files).to_bytes(4, "little"))
    sys.stdin.read()
    os._exit(0)
print(f"opened {opened}, refused in {refused} instances", flush=True)
sys.stdin.read()
IN
mkfifo go
exec 5<>go
"$PROGRAMS/container" 200000 python3 greedy.py $instances <go >greedy.log 2>&1 5>&- &
greedy=$!
said() { grep -q opened greedy.log || [ ! -d /proc/$greedy ]; }
wait_for 60 said
assert_match "$(cat greedy.log)" "^opened [0-9]+, refused in [1-9]"
opened=$(sed 's/opened \([0-9]*\),.*/\1/' greedy.log)
{ [ "$opened" -le $share ] && [ "$opened" -gt $((share - 100)) ]; } || fail "opened $opened, the share is $share"

echo "== another container, and root"
truncate -s 1M disk.img
chmod 0666 disk.img
cat >modest.sh <<'IN'
set -eu
"$MOUNT_LOOPFS" none modest -o "max=2,socket=$SOCKET"
python3 -c 'import fcntl; fcntl.ioctl(open("modest/loop-control"), 0x4C82)'
losetup "$PWD/modest/loop0" disk.img
losetup -d "$PWD/modest/loop0"
umount modest
IN
timeout 60 "$PROGRAMS/container" 300000 bash modest.sh
timeout 60 unshare --mount --propagation private bash modest.sh

echo "== given back"
kill -KILL $greedy
wait $greedy || true
exec 5>&-
gone() { [[ $(timeout 20 python3 "$TEST_FOLDER/tests/system/helpers/daemon_steps.py" --ask "$SOCKET" Counts) == *'"instances": 0'* ]]; }
wait_for 20 gone
timeout 60 "$PROGRAMS/container" 200000 bash modest.sh
