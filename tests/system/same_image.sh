#!/usr/bin/env bash
# One image in two devices of an instance: not where the first is mounted, by whatever way; mount(8) ends with an error, or uses
# the device again where it can see it.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require losetup mkfs.ext4 findmnt fuse2fs
kernel_has ext4 || skip "the kernel has no ext4"

mounted() { [ -n "$(findmnt -n "$1")" ]; }
prepare() {
  truncate -s 16M a.img
  mkfs.ext4 -qF a.img
  mkdir m m2
}
# What is the kernel's in both cases. `device N`: how losetup names it here.
deliberately() {
  # Nothing is mounted: allowed, as on the host.
  losetup "$(device 3)" a.img
  losetup "$(device 4)" a.img
  losetup -d "$(device 4)"
  mount "$(device 3)" m
  # Now the range is in use.
  assert_match "$(losetup "$(device 4)" a.img 2>&1 || true)" 'Text file busy'
  assert_match "$(losetup -o 1M "$(device 4)" a.img 2>&1 || true)" 'Text file busy'
  losetup -r "$(device 4)" a.img
  losetup -d "$(device 4)"
  umount m
  losetup "$(device 4)" a.img
  losetup -d "$(device 4)"
  losetup -d "$(device 3)"
  # Ranges that share nothing.
  truncate -s 32M two.img
  losetup --sizelimit 16M "$(device 3)" two.img
  mkfs.ext4 -q "$(device 3)"
  mount "$(device 3)" m
  losetup -o 16M "$(device 4)" two.img
  assert_match "$(losetup -o 15M "$(device 5)" two.img 2>&1 || true)" 'Text file busy'
  losetup -d "$(device 4)"
  umount m
  losetup -d "$(device 3)"
}

# A container whose /sys is the host's: mount(8) cannot see that a device has the file.
in_container() {
  device() { echo "$PWD/dev/loopfs/loop$1"; }
  prepare
  mkdir -p dev/loopfs
  "$MOUNT_LOOPFS" none dev/loopfs -o "max=8,socket=$SOCKET"
  python3 -c 'import fcntl, sys
for n in range(8): fcntl.ioctl(open(sys.argv[1]), 0x4C80, n)' dev/loopfs/loop-control
  deliberately
  mkdir dev.upper
  mount -t tmpfs dev dev.upper
  cp -a /dev/null /dev/zero /dev/full /dev/urandom dev.upper/
  mkdir dev.upper/loopfs
  mount --move dev/loopfs dev.upper/loopfs
  ln -s loopfs/loop-control dev.upper/loop-control
  for n in 0 1 2 3 4 5 6 7; do ln -s "loopfs/loop$n" "dev.upper/loop$n"; done
  mount --move dev.upper /dev
  losetup /dev/loop3 a.img
  mount /dev/loop3 m
  assert_status 32 timeout 20 mount -o loop a.img m2
  assert_match "$output" 'failed to setup loop device'
  ! mounted m2 || fail "the image is mounted twice"
  echo kept >m/file
  umount m
  losetup -d /dev/loop3
  timeout 20 mount -o loop a.img m2
  assert_eq "$(cat m2/file)" kept
  umount m2
  umount /dev/loopfs
}

# A sandbox: it can.
in_sandbox_of() {
  device() { echo "/dev/loop$1"; }
  local mounted_on
  prepare
  for n in 3 4 5; do [ -e "/dev/loop$n" ] || python3 -c "import fcntl; fcntl.ioctl(open('/dev/loop-control'), 0x4C80, $n)"; done
  deliberately
  losetup /dev/loop3 a.img
  mount /dev/loop3 m
  mount -o loop a.img m2
  mounted_on=$(findmnt -n -o SOURCE m2)
  assert_eq "$mounted_on" /dev/loop3
  echo both >m/file
  assert_eq "$(cat m2/file)" both
  umount m m2
  losetup -d /dev/loop3
}

work() { # NAME FUNCTION COMMAND...
  local name=$1 function=$2
  shift 2
  install -d -o nobody "$name"
  # shellcheck disable=SC2016 # for the inner shell
  timeout --kill-after=5 180 env -C "$name" HOME="$PWD/$name" SOCKET="$SOCKET" MOUNT_LOOPFS="$MOUNT_LOOPFS" \
    "$@" bash -c '. "$0"; eval "$1"; "$2"' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" "$function"
}
nobody=(setpriv --reuid=nobody "--regid=$(id -g nobody)" --clear-groups)
chmod 0755 .
printf '[mount]\ndefault = "kernel"\n' >config.toml
start_daemon 233000 config.toml
work container in_container unshare --mount --propagation private
work user in_sandbox_of "${nobody[@]}" "$LOOPFS" run --
work kernel in_sandbox_of "${nobody[@]}" "$LOOPFS" run --engine kernel --socket "$SOCKET" --
