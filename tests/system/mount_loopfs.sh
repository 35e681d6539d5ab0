#!/usr/bin/env bash
# mount -t loopfs by the unmodified mount(8): options, fstab, the end of an instance, a user namespace, limits.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require findmnt mkfs.ext4

printf '[[user]]\nuid = 0\ndevices = 5\ninstances = 3\n' >config.toml
start_daemon 220000 config.toml

# mount(8) finds its helper in /sbin.
mkdir upper work_dir
cat >in.sh <<'IN'
set -eu
. "$(dirname "$0")/tests/system/lib.sh"
cd "$TEST_FOLDER/work"
mount -t overlay -o "lowerdir=$(realpath /sbin),upperdir=$PWD/upper,workdir=$PWD/work_dir" overlay "$(realpath /sbin)"
mkdir -p a b c
mount -t loopfs -o "max=2,mode=0640,gid=6,socket=$SOCKET" none a
assert_eq "$(findmnt -n -o FSTYPE -M "$PWD/a")" fuse.loopfs
assert_eq "$(stat -c '%u:%g %a' a/loop-control)" 0:6\ 640
assert_eq "$(stat -c '%u:%g %a %i' a)" "0:0 755 1"
assert_match "$(findmnt -n -o OPTIONS -M "$PWD/a")" nosuid,noexec
free() { python3 -c 'import fcntl, os, sys; print(fcntl.ioctl(os.open(sys.argv[1] + "/loop-control", os.O_RDWR), int(sys.argv[2], 16), int(sys.argv[3])))' "$@"; }
add() { free "$1" 4C80 "${2:--1}"; }
remove() { free "$1" 4C81 "$2"; }
assert_eq "$(add a)" 0
assert_eq "$(add a)" 1
assert_match "$(add a 2>&1 || true)" 'No space left on device' # max
assert_match "$(add a 1 2>&1 || true)" 'File exists'
assert_match "$(remove a 7 2>&1 || true)" 'No such device'
assert_eq "$(remove a 1)" 0
assert_eq "$(ls a | xargs)" "loop-control loop0"
for act in "touch a/x" "mkdir a/x" "ln a/loop0 a/x" "mv a/loop0 a/x" "ln -s x a/x" "mknod a/x c 1 3" "rm a/loop-control"; do
  assert_match "$($act 2>&1 || true)" 'Operation not permitted'
done
truncate -s 8M image.img
losetup "$PWD/a/loop0" image.img
assert_match "$(rm a/loop0 2>&1 || true)" 'Device or resource busy'
# Another instance counts from 0, too, and cannot see the first's.
echo "none $PWD/b loopfs max=4,socket=$SOCKET,nofail 0 0" >fstab
mount -T fstab "$PWD/b"
assert_eq "$(ls b)" loop-control
assert_eq "$(add b)" 0
losetup "$PWD/b/loop0" image.img
[ "$(stat -c %t:%T a/loop0)" != "$(stat -c %t:%T b/loop0)" ] || fail "the same device"
# The limit of the user, over all instances: 5.
add b; add b
assert_eq "$(add b)" 3
assert_match "$(add a 2>&1 || true)" 'No space left on device'
# The limit of instances: 3.
mount -t loopfs -o "socket=$SOCKET" none c
mkdir d
assert_match "$(mount -t loopfs -o "socket=$SOCKET" none d 2>&1 || true)" 'No space left on device'
umount c
wait_for 5 mount -t loopfs -o "socket=$SOCKET" none c
# umount ends the instance: what is bound goes; what is mounted goes with its last user.
mkfs.ext4 -q b/loop0
mkdir m
mount b/loop0 m
umount b
echo kept >m/file
umount m
umount a c
wait_for 2 none_bound
assert_match "$(mount -t loopfs -o "max=0,socket=$SOCKET" none a 2>&1 || true)" 'max=0'
assert_match "$(mount -t loopfs -o "foo=1,socket=$SOCKET" none a 2>&1 || true)" 'unknown option foo=1'
assert_match "$(mount -t loopfs -o "socket=$PWD/nobody" none a 2>&1 || true)" 'is it running'
# What was written through the device that had outlived its instance is in the file.
mount -o loop image.img m
assert_eq "$(cat m/file)" kept
umount m
# Hidden: the instance lives as long as a descriptor of it.
mount -t loopfs -o "max=2,socket=$SOCKET" none a
exec 7<>a/loop-control 8<a
umount -l a
python3 -c 'import fcntl; assert fcntl.ioctl(7, 0x4C82) == 0'
assert_eq "$(ls /proc/self/fd/8/ | xargs)" "loop-control loop0"
exec 7>&- 8<&-
IN
install -m 0755 "$MOUNT_LOOPFS" upper/mount.loopfs
cp in.sh "$TEST_FOLDER/in.sh"
export SOCKET first_device
export -f none_bound bound_devices
unshare -m --propagation private bash "$TEST_FOLDER/in.sh"

# In a user namespace: its root has it, counted for the user who made the namespace.
cat >"$TEST_FOLDER/in.sh" <<'IN'
set -eu
. "$(dirname "$0")/tests/system/lib.sh"
mkdir -p /tmp/x 2>/dev/null || true
mount -t tmpfs none /mnt
mkdir /mnt/i
"$MOUNT_LOOPFS" none /mnt/i -o "max=3,socket=$SOCKET"
assert_eq "$(stat -c '%u:%g' /mnt/i/loop-control)" 0:0
truncate -s 4M /mnt/image
python3 -c 'import fcntl, os; fcntl.ioctl(os.open("/mnt/i/loop-control", os.O_RDWR), 0x4C82)'
losetup /mnt/i/loop0 /mnt/image
assert_eq "$(stat -c '%u %F' /mnt/i/loop0)" "0 block special file"
mkfs.ext4 -q /mnt/i/loop0
assert_match "$(mount /mnt/i/loop0 /mnt/i 2>&1 || true)" 'permission denied|not permitted'
assert_match "$("$MOUNT_LOOPFS" none /mnt/i -o "uid=5,socket=$SOCKET" 2>&1 || true)" 'uid=5: not mapped'
IN
export MOUNT_LOOPFS
setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups unshare -Urm bash "$TEST_FOLDER/in.sh"
wait_for 2 none_bound
