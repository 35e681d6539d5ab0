#!/usr/bin/env bash
# Hostile programs (tests/isolation) in instances of a real loopfsd: nobody reads, keeps or holds up what is not theirs.
# ISOLATION_ROUNDS: opens and binds in the race (100000: about a minute on two processors; it ends after 75 s).
# run-as: root
# serial: yes
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup mkfs.ext4 python3
PROGRAMS=${LOOPFS%/*}/isolation
[ -x "$PROGRAMS/open_race" ] || skip "the programs of tests/isolation are not built"
chmod 0755 . # for the roots of containers
rounds_wanted=${ISOLATION_ROUNDS:-100000}
start_daemon 400000
server() { pgrep -P "$daemon_pid" loopfsd; }
wait_for 10 server
server_at_start=$(server)

# mark FILE OWNER: 64 KiB of "OWNER;"
mark() { python3 -c 'import sys; sys.stdout.write((sys.argv[1] + ";") * 65536)' "$2" | head -c 65536 >"$1" || true; chmod 0666 "$1"; }
for owner in a b c; do for n in 0 1; do mark $owner-$n.img $owner-$n; done; done
mark victim.img victim
mkdir -m 0755 i
mkdir -m 0777 shared
cat >inside.sh <<'IN'
set -eu
"$MOUNT_LOOPFS" none i -o "max=$MAX,socket=$SOCKET"
python3 -c 'import fcntl; fcntl.ioctl(open("i/loop-control"), 0x4C82)'
exec "$@"
IN
export MOUNT_LOOPFS SOCKET MAX=4 OTHER_ROOT=/proc/1/root$PWD/i

# container UID|host PROGRAM [ARG...]: in a container with an instance at i.
container() {
  local user=$1
  shift
  timeout -k 5 150 "$PROGRAMS/container" "$user" bash inside.sh "$@"
}
attack() { # as container, for programs of ours
  local user=$1 program=$2
  shift 2
  container "$user" "$PROGRAMS/$program" "$@"
}

declare -A outputs=()
jobs_left=()
# beside COMMAND...: in the background; `all_done` waits for all of these, shows what they say, and fails if one did.
beside() {
  local log=job.${#outputs[@]}
  "$@" >"$log" 2>&1 &
  outputs[$!]=$log
  jobs_left+=($!)
}
all_done() {
  local pid failed=
  for pid in "${jobs_left[@]}"; do
    wait "$pid" || [ $? -eq 77 ] || failed="$failed ${outputs[$pid]}"
    cat "${outputs[$pid]}"
  done
  jobs_left=()
  [ -z "$failed" ] || fail "failed:$failed"
}
count() { cat job.* | sed -n "s/.*[ :]\([0-9]*\) $1.*/\1/p" | paste -sd+ | sed 's/^$/0/'; }
gone_soon() { wait_for 1 none_bound; }

echo "== the race"
race() {
  local seconds=$1
  beside "$PROGRAMS/victim" victim.img victim "$seconds"
  beside "$PROGRAMS/partitions" host victim victim.img "$seconds"
  beside attack 200000 open_race i a a-0.img a-1.img "$seconds"
  beside attack 300000 open_race i b b-0.img b-1.img "$seconds"
  beside attack 400000 partitions i c c-0.img "$seconds"
  all_done
  inside=$(($(count opens)))
  rounds=$(($(count opens) + $(count binds) + $(count 'devices of the host') + $(count rounds)))
}
race 15
while [ $rounds -lt "$rounds_wanted" ] && [ $SECONDS -lt $((rounds_wanted * 3 / 4000)) ]; do race 15; done
echo "$rounds rounds in $SECONDS s, $inside of them opens in a container"
# A machine that is slow, or has other things to do, gets fewer done; with too few nothing is shown.
[ $rounds -ge $((rounds_wanted / 100)) ] || fail "only $rounds of $rounds_wanted rounds"
# As the machine's root, with handles; and from outside, through /proc/PID/root of the container.
beside attack host open_race i a a-0.img a-1.img 8 open handle handle kept reopen bind ringlook ring
host_process=
find_process() { host_process=$(pgrep -f "^$PROGRAMS/open_race i a ") && [ -e "/proc/$host_process/root$PWD/i/loop3" ]; }
wait_for 5 find_process
through=/proc/$host_process/root$PWD/i
beside env OTHER_ROOT="$through" "$PROGRAMS/open_race" "$through" a - - 5 proc open kept reopen
beside attack 300000 open_race i b b-0.img b-1.img 8
all_done
# mount(2) opens the device, too.
has_ext4=
! kernel_has ext4 || has_ext4=yes
[ -n "$has_ext4" ] || echo "the kernel has no ext4: no mounts"
mount_too() { # OWNER
  local n
  mkdir -p place "root-$1"
  touch "root-$1/$1"
  for n in 0 1; do
    truncate -s 4M "fs-$1-$n.img"
    mkfs.ext4 -q -d "root-$1" "fs-$1-$n.img" 2>/dev/null
  done
  beside attack host mount_race i "$1" "fs-$1-0.img" "fs-$1-1.img" place 6
}
for owner in a b; do [ -z "$has_ext4" ] || mount_too $owner; done
all_done

echo "== descriptors"
beside attack 200000 stale_fds i a a-0.img a-1.img
all_done
gone_soon
beside attack 200000 passed_fds give i shared/socket a-0.img
beside "$PROGRAMS/container" 300000 "$PROGRAMS/passed_fds" take shared/socket b-0.img b-0
beside attack 400000 configure_storm i c c-0.img c-1.img 8
all_done

echo "== numbers"
host_numbers() {
  local device end=$((SECONDS + 6)) done=0
  while [ $SECONDS -lt $end ]; do
    device=$(losetup -f --show "$PWD/victim.img") || { echo "losetup -f FILE failed"; return 1; }
    [ "${device#/dev/loop}" -lt 400000 ] || { echo "the host got $device"; return 1; }
    losetup -d "$device"
    done=$((done + 1))
  done
  echo "losetup -f FILE on the host: $done times"
}
beside attack 200000 numbers i 4 6
beside attack 300000 open_race i b b-0.img b-1.img 6 open write
beside host_numbers
all_done

echo "== bad backing files, and a flood"
beside env MAX=12 timeout -k 5 100 "$PROGRAMS/container" 200000 bash inside.sh "$PROGRAMS/bad_backing" i shared a-0.img 4
beside attack 300000 latency i b-0.img 6 100
all_done
truncate -s 16M swap
mkswap -q swap && chmod 0600 swap
if swapon swap 2>/dev/null; then
  status=0
  # The kernel has it all to itself: ETXTBSY to whoever opens it for writing, and LOOP_CONFIGURE goes by that.
  container host losetup "$PWD/i/loop0" swap >swap.log 2>&1 || status=$?
  swapoff swap
  [ $status -ne 0 ] || echo "a swap file can be bound, as on the host"
fi
beside attack 200000 flood i a-0.img 6
beside attack 300000 latency i b-0.img 8 100
all_done

echo "== the end of an instance"
gone_soon
# shellcheck disable=SC2016 # for the inner shell
container 200000 bash -ec '
  losetup "$PWD/i/loop0" a-0.img
  printf written | dd of=i/loop0 bs=1 seek=4096 conv=notrunc,fsync status=none
  umount i'
gone_soon
assert_eq "$(dd if=a-0.img bs=1 skip=4096 count=7 status=none)" written
# shellcheck disable=SC2016 # for the inner shell
container 200000 bash -ec '
  losetup "$PWD/i/loop0" a-0.img
  printf wrapped | dd of=i/loop0 bs=1 seek=4096 conv=notrunc,fsync status=none'
gone_soon
assert_eq "$(dd if=a-0.img bs=1 skip=4096 count=7 status=none)" wrapped
# Kept by a program that outlives the mount, for as long as it does.
mark a-0.img a-0
mkfifo -m 0666 shared/go
exec 3<>shared/go
# shellcheck disable=SC2016 # for the inner shell
container 200000 bash -ec '
  python3 -c "import fcntl; fcntl.ioctl(open(\"i/loop-control\"), 0x4C80, 1)"
  "$0/stale_fds" hold i a a-0.img <shared/go >shared/held &
  for _ in $(seq 500); do grep -qs bound shared/held && break; sleep 0.02; done
  umount -l i
  sleep 0.7
  echo end >shared/go
  wait $!' "$PROGRAMS" &
pid=$!
wait_for 10 grep -q bound shared/held
number=$(sed -n 's/^bound //p' shared/held)
wait $pid || fail "$(cat shared/held)"
exec 3>&-
grep -q held shared/held || fail "$(cat shared/held)"
[ "$number" -ge 400000 ] || fail "loop$number"
gone_soon
assert_eq "$(dd if=a-0.img bs=4096 skip=1 count=1 status=none | head -c 24)" "a-0;written after umount"
# SIGKILL to all of it: bound, open, and a file system of it mounted by the machine's root.
killed_with_a_mount() {
  truncate -s 16M fs.img
  mkfs.ext4 -q fs.img
  cat >mounted.sh <<'IN'
set -eu
mkdir -p m
losetup "$PWD/i/loop0" fs.img
mount "$PWD/i/loop0" m
echo safe >m/file
sync m/file
exec 5<i/loop0
echo up >up
sleep 100
IN
  "$PROGRAMS/container" host bash inside.sh bash mounted.sh &
  pid=$!
  wait_for 20 grep -q up up
  if none_bound; then fail "nothing is bound"; fi
  kill -KILL $pid
  wait $pid || true
  gone_soon
  device=$(losetup -r -f --show "$PWD/fs.img")
  mkdir -p m
  mount -o ro,noload "$device" m || mount -o ro "$device" m
  content=$(cat m/file)
  umount m
  losetup -d "$device"
  assert_eq "$content" safe
}
[ -z "$has_ext4" ] || killed_with_a_mount

assert_eq "$(server)" "$server_at_start" "the server of loopfsd was started again"
no_devices() { ! compgen -G '/sys/block/loop4000*' >/dev/null; }
wait_for 20 no_devices
echo "done in $SECONDS s"
