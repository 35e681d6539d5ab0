#!/usr/bin/env bash
# Our udev rules: a loop device of loopfsd (number 100000 and up) is not probed, linked, watched, assembled or
# activated by the host; a device of the host with the same on it is, so this could fail.
# run-as: root
# serial: yes
#
# A real systemd-udevd has its database and /dev to itself, in a mount, PID and network namespace of its own: the kernel's
# uevents reach every network namespace, another udevd's messages do not. What udev starts is recorded; the two steps
# that would change the machine's kernel (mdadm --incremental, vgchange -aay) are not carried out, so this
# needs neither md nor device-mapper.
. "$(dirname "$0")/lib.sh"
require losetup mke2fs partx sfdisk pvcreate vgcreate lvcreate pvs mdadm udevadm unshare python3
udevd=/lib/systemd/systemd-udevd
[ -x "$udevd" ] || skip "$udevd is not there"
[ -c /dev/loop-control ] || unavailable "no /dev/loop-control"
export udevd

# loop_control add|remove NUMBER
loop_control() {
  python3 -c '
import fcntl, sys
with open("/dev/loop-control") as control:
    fcntl.ioctl(control, {"add": 0x4C80, "remove": 0x4C81}[sys.argv[1]], int(sys.argv[2]))' "$@"
}

# four_free FROM: the first of four numbers in a row that no loop device has.
four_free() {
  local n=$1
  while [ -e "/sys/block/loop$n" ] || [ -e "/sys/block/loop$((n + 1))" ] || [ -e "/sys/block/loop$((n + 2))" ] ||
    [ -e "/sys/block/loop$((n + 3))" ]; do n=$((n + 4)); done
  echo "$n"
}

host=$(four_free $((1000 + RANDOM % 2000 * 4))) # loop1003p1 must not be taken for one of ours
ours=$(four_free $((210000 + RANDOM * 4)))
export host ours

outside_pid=
cleanup() {
  local n
  [ -z "$outside_pid" ] || kill -KILL "$outside_pid" 2>/dev/null || true # takes all in the PID namespace with it
  for n in $(seq "$host" $((host + 3))) $(seq "$ours" $((ours + 3))); do
    [ -e "/sys/block/loop$n" ] || continue
    [ ! -e "/sys/block/loop$n/loop" ] || losetup -d "/dev/loop$n"
    wait_for 10 loop_control remove "$n"
  done
}
trap cleanup EXIT

# An md member with metadata 1.2, as `mdadm --create --level=1 --raid-devices=2` writes it: mdadm itself wants md.
md_member() {
  python3 - "$1" <<'PYTHON'
import os, struct, sys
size, roles = os.path.getsize(sys.argv[1]) // 512, (0, 1)
block = bytearray(256 + 2 * len(roles))
struct.pack_into("<IIII16s32sQiIQII", block, 0, 0xA92B4EFC, 1, 0, 0, os.urandom(16), b"loopfs:test", 0, 1, 0,
                 size - 2048, 0, 2)
struct.pack_into("<QQQQII16s", block, 128, 2048, size - 2048, 8, 0, 0, 0, os.urandom(16))
struct.pack_into("<QQQII", block, 192, 0, 1, 2**64 - 1, 0, len(roles))
struct.pack_into("<HH", block, 256, *roles)
total = sum(struct.unpack("<%dI" % (len(block) // 4), block))
struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
with open(sys.argv[1], "r+b") as image:
    image.seek(8 * 512)
    image.write(block)
PYTHON
}

# shellcheck disable=SC2046 # major and minor are two words
node() { mknod -m 0600 "/dev/$1" b $(tr : ' ' <"/sys/class/block/$1/dev"); }

# add NUMBER: a new device, and its node in this /dev (the kernel makes one in its own).
add() {
  loop_control add "$1"
  node "loop$1"
}

# make_images OWNER NUMBER: OWNER-KIND.img; a device is borrowed for LVM.
make_images() {
  local disk=/dev/loop$2
  truncate -s 24M "$1-lvm.img" "$1-md.img" "$1-ext4.img" "$1-gpt.img"
  md_member "$1-md.img"
  mke2fs -q -F -t ext4 -L "label_$1" "$1-ext4.img"
  printf 'label: gpt\nsize=8M, name=part_%s\n' "$1" | sfdisk -q "$1-gpt.img"
  mke2fs -q -F -t ext4 -L "inner_$1" -E offset=1048576 "$1-gpt.img" 8M
  add "$2"
  losetup "$disk" "$1-lvm.img"
  # without device-mapper, LVM complains of that, and writes its metadata all the same
  pvcreate "$disk"
  vgcreate "vg_$1" "$disk"
  lvcreate --config global/activation=0 -an -Zn -Wn -L 4M -n lv "vg_$1"
  losetup -d "$disk"
  rm "$disk"
  wait_for 10 loop_control remove "$2"
}

# record PROGRAM: what udev starts of it goes to the file `started`.
record() {
  local program
  program=$(readlink -f "$(command -v "$1")")
  cp "$program" "$PWD/$1.real"
  cat >"$1.wrapper" <<SCRIPT
#!/bin/bash
if [ -n "\${DEVPATH:-}" ]; then
  echo "\${DEVNAME##*/}: $1 \$*" >>"$PWD/started"
  case "\$1" in vgchange | --incremental) exit 0 ;; esac
fi
exec -a "\$0" "$PWD/$1.real" "\$@"
SCRIPT
  chmod 0755 "$1.wrapper"
  mount --bind "$1.wrapper" "$program"
}

private_machine() {
  local name
  mount -t tmpfs -o mode=0755 tmpfs /run
  mount -t tmpfs -o mode=0755 tmpfs /dev
  mknod -m 0666 /dev/null c 1 3
  mknod -m 0666 /dev/urandom c 1 9
  mknod -m 0600 /dev/loop-control c 10 237
  ln -s /proc/self/fd /dev/fd
  cp -r /etc/lvm lvm # as the package ships it: LVM writes its archives there
  mount --bind lvm /etc/lvm
  record lvm
  record mdadm
  mkdir -p /run/udev/rules.d
  cp "$LOOPFS_SOURCE"/packaging/udev/*.rules /run/udev/rules.d/
}

properties() { udevadm info --query=property --path="/sys/class/block/$1"; }
links() { find /dev -type l -lname "*/$1" ! -path "/dev/block/*" | sort; }
watched() { [ -L "/run/udev/watch/b$(cat "/sys/class/block/$1/dev")" ]; }

was_probed() { # NAME PROPERTY...: the host's device has these
  local name=$1 property
  shift
  for property; do assert_match "$(properties "$name")" "^$property\$"; done
  assert_eq "$(stat -c '%U:%G %a' "/dev/$name")" "root:disk 660" "$name"
  watched "$name" || fail "$name is not watched"
}

left_alone() { # NAME
  local known
  known=$(properties "$1")
  assert_match "$known" "^USEC_INITIALIZED=" # udev has dealt with it
  assert_no_match "$known" "^(ID_|LVM_|MD_|UDISKS_MD_|DM_NAME|DEVLINKS|SYSTEMD_WANTS)"
  assert_match "$known" "^SYSTEMD_READY=0\$"
  assert_match "$known" "^UDISKS_IGNORE=1\$"
  assert_eq "$(links "$1")" "" "links to $1"
  assert_eq "$(stat -c '%U:%G %a' "/dev/$1")" "root:root 600" "$1"
  ! watched "$1" || fail "$1 is watched"
}

all_of_ours_left_alone() {
  local n
  for n in 0 1 2 3; do left_alone "loop$((ours + n))"; done
  left_alone "loop$((ours + 3))p1"
  assert_no_match "$(cat started)" "^loop$ours|vg_ours"
}

settled() {
  local before=$EPOCHSECONDS
  udevadm settle --timeout=60 || fail "udev did not settle: $(tail -20 udevd.log)"
  [ $((EPOCHSECONDS - before)) -le 30 ] || fail "udev took $((EPOCHSECONDS - before)) s to settle"
}

lvm_by_hand() {
  local device=/dev/loop$ours
  # LVM asks nobody: without a filter it does read our device...
  assert_match "$(pvs 2>&1)" "$device +vg_ours"
  # ...unless it has been told to heed udev's database...
  assert_no_match "$(pvs --config devices/external_device_info_source=udev 2>&1)" "loop$ours"
  assert_match "$(pvs --config devices/external_device_info_source=udev 2>&1)" "/dev/loop$host +vg_host"
  # ...and with the filter that the package has as an example it does not, and the host's is still there.
  cat "$LOOPFS_SOURCE/packaging/lvm/lvmlocal.conf" >>/etc/lvm/lvmlocal.conf
  assert_match "$(pvs 2>&1)" "/dev/loop$host +vg_host"
  assert_no_match "$(pvs 2>&1; vgs 2>&1)" "vg_ours|loop$ours"
  cp "$PWD/lvm.real.conf" /etc/lvm/lvmlocal.conf
  # Nor does it find a device that has no node in /dev.
  mv "$device" /run/node
  assert_match "$(pvs 2>&1)" "/dev/loop$host +vg_host"
  assert_no_match "$(pvs 2>&1; vgs 2>&1)" "vg_ours|loop$ours"
  mv /run/node "$device"
}

inside() {
  local n owner first
  local kinds=(lvm md ext4 gpt)
  private_machine
  cp /etc/lvm/lvmlocal.conf lvm.real.conf
  make_images host "$host" >images.log 2>&1 || fail "$(cat images.log)"
  make_images ours "$ours" >images.log 2>&1 || fail "$(cat images.log)"
  : >started

  "$udevd" >udevd.log 2>&1 &
  wait_for 10 udevadm control --ping
  udevadm control --stop-exec-queue # until this /dev has the nodes
  for owner in host ours; do
    first=${!owner}
    for n in 0 1 2 3; do
      add $((first + n))
      losetup --partscan "/dev/loop$((first + n))" "$owner-${kinds[n]}.img"
    done
    partx --update "/dev/loop$((first + 3))" # not each kernel knows GPT
    node "loop$((first + 3))p1"
  done
  udevadm control --start-exec-queue
  settled

  was_probed "loop$host" ID_FS_TYPE=LVM2_member
  was_probed "loop$((host + 1))" ID_FS_TYPE=linux_raid_member
  was_probed "loop$((host + 2))" ID_FS_TYPE=ext4 ID_FS_LABEL=label_host
  was_probed "loop$((host + 3))" ID_PART_TABLE_TYPE=gpt
  was_probed "loop$((host + 3))p1" ID_FS_LABEL=inner_host ID_PART_ENTRY_NAME=part_host
  assert_match "$(links "loop$((host + 2))")" "^/dev/disk/by-label/label_host\$"
  assert_match "$(links "loop$((host + 3))p1")" "^/dev/disk/by-partlabel/part_host\$"
  assert_match "$(cat started)" "^loop$host: lvm pvscan "
  assert_match "$(cat started)" "^loop$host: lvm vgchange -aay .*vg_host"
  assert_match "$(cat started)" "^loop$((host + 1)): mdadm --incremental "

  all_of_ours_left_alone
  # Another rule that grabs every loop device, an event as at boot, and one as after a write.
  echo 'SUBSYSTEM=="block", KERNEL=="loop*", GROUP="disk", MODE="0666", OPTIONS+="watch", SYMLINK+="nosy/%k",' \
    'ENV{SYSTEMD_READY}="1", ENV{UDISKS_IGNORE}="0", ENV{SYSTEMD_WANTS}+="nosy.service"' >/run/udev/rules.d/70-nosy.rules
  udevadm control --reload
  for n in add change; do
    udevadm trigger --action=$n /sys/class/block/loop{"$((host + 2))","$ours","$((ours + 1))","$((ours + 2))","$((ours + 3))","$((ours + 3))p1"}
    settled
    assert_match "$(links "loop$((host + 2))")" "^/dev/nosy/"
    all_of_ours_left_alone
  done

  lvm_by_hand

  for n in "$ours" "$host"; do losetup -d "/dev/loop$n"; done
  settled
  all_of_ours_left_alone
}

# shellcheck disable=SC2016 # for the inner shell
unshare --mount --net --pid --mount-proc --fork --kill-child --propagation private \
  bash -c '. "$0"; eval "$1"; inside' "$TEST_FOLDER/tests/system/lib.sh" "$(declare -f)" &
outside_pid=$!
wait $outside_pid
outside_pid=
