#!/usr/bin/env bash
# loopfs run --engine kernel: a sandbox whose devices are the kernel's, from loopfsd, for root and for nobody; with
# FUSE programs for mounts, with the kernel's own by the configuration, and with none.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require mkfs.ext4 fuse2fs sfdisk mkfs.vfat findmnt lsblk

cat >in.sh <<'IN'
set -eu
fail() { echo "FAILED: $*"; exit 1; }
eq() { [ "$1" = "$2" ] || fail "got '$1', expected '$2'"; }
cd "$1"
truncate -s 64M disk.img
eq "$(losetup -f --show disk.img)" /dev/loop0
eq "$(stat -L -c '%u %a %F' /dev/loop0)" "0 600 block special file"
eq "$(losetup -n -O NAME,BACK-FILE -l | xargs)" "/dev/loop0 $1/disk.img"
eq "$(losetup -f)" /dev/loop1
eq "$(lsblk -n -o NAME /dev/loop0)" loop0
[ "$(ls /sys/block | grep -c ^loop)" -le 2 ] || fail "the host's devices show: $(ls /sys/block)"
# What is written and closed is in the file, without fsync: no other descriptor of the device is open.
echo "these bytes" | dd of=/dev/loop0 status=none
eq "$(head -c 11 disk.img)" "these bytes"
mkfs.ext4 -q /dev/loop0
mkdir -p d
if [ "$2" = deny ]; then
  ! mount /dev/loop0 d 2>error || fail "mounted"
  grep -q -e 'permission denied' -e 'not permitted' error || fail "$(cat error)"
else
  mount /dev/loop0 d
  eq "$(findmnt -n -o FSTYPE -M "$1/d")" "$3"
  echo hello >d/file
  eq "$(stat -c %u d/file)" 0
  umount d
  losetup -d /dev/loop0
  eq "$(losetup -a)" ""
  mount -o loop disk.img d
  eq "$(cat d/file)" hello
  umount d
fi
losetup -D
eq "$(losetup -a)" ""

# A descriptor that was opened before goes on working, and is the real device.
python3 - <<'P'
import fcntl, os, stat, struct
LOOP_CONFIGURE, LOOP_GET_STATUS64, BLKGETSIZE64 = 0x4C0A, 0x4C05, 0x80081272
fd = os.open('/dev/loop0', os.O_RDWR)
assert stat.S_ISREG(os.fstat(fd).st_mode)
image = os.open('disk.img', os.O_RDWR)
fcntl.ioctl(fd, LOOP_CONFIGURE, struct.pack('II', image, 512) + bytes(232) + bytes(64))
assert stat.S_ISBLK(os.fstat(fd).st_mode), 'not the block device'
assert struct.unpack('Q', fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0] == 64 << 20
info = fcntl.ioctl(fd, LOOP_GET_STATUS64, bytes(232))
assert struct.unpack_from('I', info, 40)[0] == 0, 'lo_number %d' % struct.unpack_from('I', info, 40)[0]
os.pwrite(fd, b'x' * 4096, 8192); os.fsync(fd)
assert os.pread(image, 4096, 8192) == b'x' * 4096
P
losetup -d /dev/loop0

printf 'label: gpt\nsize=20M\nsize=20M\n' | sfdisk -q disk.img
eq "$(losetup -fP --show disk.img)" /dev/loop0
mkfs.vfat /dev/loop0p1 >/dev/null
eq "$(blkid -p -o value -s TYPE /dev/loop0p1)" vfat
wipefs -qa /dev/loop0p1
printf 'label: gpt\nsize=8M\nsize=8M\nsize=8M\n' | sfdisk -q /dev/loop0
eq "$(ls /dev/ | grep -c loop0p)" 3
losetup -d /dev/loop0
for _ in $(seq 100); do [ -L /dev/loop0p1 ] || break; sleep 0.02; done
[ ! -L /dev/loop0p1 ] || fail "a link to a partition is left"
# Left bound, and mounted: it goes with the sandbox.
losetup /dev/loop0 disk.img
mount -o loop disk2.img d 2>/dev/null || true
IN

run_as() { # USER POLICY FSTYPE
  local as=() folder=$PWD/$1
  [ "$1" = root ] || as=(setpriv "--reuid=$1" "--regid=$(id -g "$1")" --clear-groups)
  mkdir -p "$folder"
  truncate -s 16M "$folder/disk2.img"
  mkfs.ext4 -q "$folder/disk2.img"
  chown -R "$1:$(id -g "$1")" "$folder"
  "${as[@]}" env HOME="$folder" "$LOOPFS" run --engine kernel --socket "$SOCKET" --max 8 -- bash "$PWD/in.sh" "$folder" "$2" "$3"
  wait_for 5 none_bound
  rm -r "$folder"
}

chmod 0755 .
start_daemon 210000
run_as root fuse fuse.loop.ext4
run_as nobody fuse fuse.loop.ext4
end_daemon
printf '[mount]\ndefault = "kernel"\n[[user]]\nname = "nobody"\nmount = "deny"\n' >config.toml
start_daemon 211000 config.toml
run_as root kernel ext4
run_as nobody deny -
end_daemon
printf '[mount]\ndefault = "kernel"\n[[user]]\nuid = 0\nallow = false\n' >config.toml
start_daemon 212000 config.toml
run_as nobody kernel ext4
refused=$("$LOOPFS" run --engine kernel --socket "$SOCKET" -- true 2>&1 || true)
assert_match "$refused" 'by the configuration'

gone=$("$LOOPFS" run --engine kernel --socket "$PWD/nothing" -- true 2>&1 || true)
assert_match "$gone" "^loopfs: .*nothing.*No such file"
