#!/usr/bin/env bash
# README.md, "What works" and "What does not": each line of both lists is tried, in both engines, for root and for nobody. A
# line that is not in the table below fails, and so does a line of the table that is not in the README.
# run-as: root
# timeout: 900
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require busybox mkfs.ext4 mkfs.xfs xfs_repair mkfs.btrfs btrfs mkfs.vfat fsck.vfat mkfs.exfat mkntfs mksquashfs genisoimage e2fsck \
  resize2fs blkid sfdisk sgdisk partx lsblk fio fuse2fs fusefat mount.exfat-fuse ntfs-3g squashfuse_ll fuseiso dmsetup blkdiscard mcopy perl

# How a line begins, and what shows it: functions, which run in a sandbox, with ENGINE=user and with ENGINE=kernel; outside: those
# that make sandboxes themselves; nothing: a line that promises nothing which could be tried; or the test that does it.
# shellcheck disable=SC2016 # these are no commands
readonly table='
`losetup` with all its options | losetup_options busybox_losetup file_systems partition_tools fio_device
Mounting ext2/3/4, squashfs    | mounts
Images stay sparse             | sparse
fsync on a device returns      | synced
Several sandboxes at once      | outside:several outside:nested
Mounting xfs or btrfs          | no_kernel_types
On vfat, which Debian          | vfat_limits
File systems are as fast as    | nothing
Below the seccomp supervisor   | outside:below_a_supervisor
`mount -t ntfs` where          | ntfs_by_a_single_id
What the kernel keeps from     | kept_from_user_namespaces
Device mapper, LVM and LUKS    | no_device_mapper
Mounts of devices on kernels   | system/seccomp_profile
It is no cage for code         | nothing
'

losetup_options() {
  truncate -s 8M a.img
  assert_eq "$(losetup -f)" /dev/loop0
  assert_eq "$(losetup -f --show a.img)" /dev/loop0
  assert_eq "$(losetup -j a.img -n -O NAME,BACK-FILE | xargs)" "/dev/loop0 $PWD/a.img"
  assert_eq "$(losetup -a | wc -l)" 1
  assert_eq "$(losetup -l -n -O NAME | xargs)" /dev/loop0
  assert_eq "$(losetup -J -O NAME | tr -d ' \n\t')" '{"loopdevices":[{"name":"/dev/loop0"}]}'
  assert_eq "$(losetup -L -f --show a.img)" /dev/loop0 "--nooverlap"
  truncate -s 12M a.img
  losetup -c /dev/loop0
  assert_eq "$(blockdev --getsize64 /dev/loop0)" 12582912
  losetup --direct-io=on /dev/loop0
  assert_eq "$(losetup -n -O DIO /dev/loop0 | xargs)" 1
  losetup -d /dev/loop0
  losetup -r -o 1M --sizelimit 2M /dev/loop3 a.img
  assert_eq "$(losetup -n -O OFFSET,SIZELIMIT,RO /dev/loop3 | xargs)" "1048576 2097152 1"
  ! dd if=/dev/zero of=/dev/loop3 bs=512 count=1 conv=notrunc 2>/dev/null || fail "written to a read-only device"
  losetup -b 4096 /dev/loop1 a.img
  assert_eq "$(blockdev --getss /dev/loop1)" 4096
  losetup -D
  assert_eq "$(losetup -a)" ""
}

busybox_losetup() {
  truncate -s 8M a.img
  busybox losetup /dev/loop0 a.img
  assert_match "$(busybox losetup /dev/loop0)" "a.img"
  busybox losetup -d /dev/loop0
  busybox losetup -r -o 4096 /dev/loop1 a.img
  assert_eq "$(blockdev --getro --getsize64 /dev/loop1 | xargs)" "1 8384512"
  busybox losetup -d /dev/loop1
}

file_systems() { # mkfs and the checkers, on a device and on a partition
  local device
  truncate -s 640M a.img
  printf 'label: gpt\nsize=600M\n' | sfdisk -q a.img
  losetup -P /dev/loop0 a.img
  truncate -s 600M b.img
  losetup /dev/loop1 b.img
  for device in /dev/loop0p1 /dev/loop1; do
    mkfs.ext4 -q -F $device 400M
    e2fsck -fp $device >/dev/null
    resize2fs $device >/dev/null 2>&1
    e2fsck -fn $device >/dev/null 2>&1
    assert_eq "$(blkid -p -o value -s TYPE $device)" ext4
    mkfs.xfs -q -f $device
    xfs_repair -n $device >/dev/null 2>&1
    mkfs.btrfs -q -f $device >/dev/null
    btrfs check --readonly $device >/dev/null 2>&1
    wipefs -qa $device
    mkfs.vfat $device >/dev/null
    fsck.vfat -n $device >/dev/null
    assert_eq "$(blkid -p -o value -s TYPE $device)" vfat
    head -c 65536 /dev/urandom >bytes
    dd if=bytes of=$device bs=4k seek=3 conv=notrunc status=none
    dd if=$device bs=4k skip=3 count=16 status=none | cmp - bytes
  done
  losetup -D
  rm a.img b.img bytes
}

partition_tools() {
  truncate -s 64M a.img
  losetup -P /dev/loop0 a.img
  printf 'label: gpt\nsize=8M\nsize=8M\n' | sfdisk -q /dev/loop0
  assert_eq "$(lsblk -n -r -o NAME,SIZE /dev/loop0 | xargs)" "loop0 64M loop0p1 8M loop0p2 8M"
  sgdisk -n 3:0:+8M /dev/loop0 >/dev/null
  partx -u /dev/loop0
  [ -b /dev/loop0p3 ] || fail "no third partition"
  partx -d --nr 1:3 /dev/loop0
  [ ! -e /dev/loop0p1 ] || fail "partx -d left the first"
  partx -a /dev/loop0
  assert_eq "$(blockdev --getsize64 /dev/loop0p3)" 8388608
  losetup -d /dev/loop0
}

fio_device() {
  truncate -s 16M a.img
  losetup /dev/loop0 a.img
  fio --name=v --filename=/dev/loop0 --size=16M --verify=crc32c --rw=randwrite --ioengine=libaio --direct=1 --iodepth=8 --bs=4k \
    --verify_fatal=1 >fio.log || { cat fio.log; fail fio; }
  losetup -d /dev/loop0
}

# a file system on /dev/loop0, filled through the mount or from a folder
mounts() {
  local type helpers
  mkdir -p m files
  head -c 100000 /dev/urandom >files/data
  for type in ext2 ext3 ext4 squashfs vfat exfat ntfs iso9660; do
    rm -f a.img
    case $type in
      squashfs) mksquashfs files a.img -quiet -no-progress >/dev/null ;;
      iso9660) genisoimage -quiet -R -o a.img files ;;
      *) truncate -s 64M a.img ;;
    esac
    losetup /dev/loop0 a.img
    case $type in
      squashfs | iso9660) ;;
      ntfs) mkntfs -qFf /dev/loop0 >/dev/null 2>&1 ;;
      ext?) mkfs.$type -q /dev/loop0 2>/dev/null ;;
      *) mkfs.$type /dev/loop0 >/dev/null ;;
    esac
    helpers=()
    [ $type != ntfs ] || helpers=(-i) # see below
    mount "${helpers[@]}" /dev/loop0 m
    [ -e m/data ] || cp files/data m/
    cmp files/data m/data
    umount m
    losetup -d /dev/loop0
  done
  if command -v erofsfuse >/dev/null; then
    rm a.img
    mkfs.erofs a.img files >/dev/null
    mount -o loop a.img m
    cmp files/data m/data
    umount m
  fi
}

sparse() {
  local full keeps=0
  head -c 32M /dev/urandom >a.img
  sync a.img
  full=$(stat -c %b a.img)
  losetup /dev/loop0 a.img
  fallocate -p -o 0 -l 8M /dev/loop0
  blkdiscard -o 8M -l 8M /dev/loop0
  blkdiscard -z -o 16M -l 8M /dev/loop0
  [ "$ENGINE" = user ] || keeps=$((full / 4)) # the kernel keeps it allocated
  mkfs.ext4 -q -F -E offset=25165824 /dev/loop0 8M 2>/dev/null # discards what it makes a file system of
  sync /dev/loop0
  losetup -d /dev/loop0
  [ "$(stat -c %b a.img)" -lt $((full / 4 + keeps)) ] || fail "$(stat -c %b a.img) of $full blocks are left"
}

synced() {
  truncate -s 8M a.img
  head -c 1M /dev/urandom >bytes
  losetup /dev/loop0 a.img
  dd if=bytes of=/dev/loop0 bs=64k conv=notrunc,fsync status=none
  dd if=a.img bs=1M count=1 iflag=direct status=none | cmp - bytes # past every cache
  losetup -d /dev/loop0
}

several() {
  local i pids=()
  for i in 1 2 3; do
    truncate -s ${i}M several$i.img
    # shellcheck disable=SC2016 # for the inner shell
    engine sh -ec '[ "$(losetup -f --show "$1")" = /dev/loop0 ]; blockdev --getsize64 /dev/loop0 >"$1.size"' sh several$i.img &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i"; done
  assert_eq "$(cat several?.img.size | xargs)" "1048576 2097152 3145728"
}

nested() {
  truncate -s 1M outer.img
  # shellcheck disable=SC2016 # for the inner shell
  assert_eq "$(engine bash -ec 'losetup -f --show outer.img; "$@"' bash "${engine[@]}" losetup -f)" \
    $'/dev/loop0\n/dev/loop0'
}

no_kernel_types() {
  mkdir -p m
  truncate -s 512M a.img
  losetup /dev/loop0 a.img
  mkfs.xfs -q -f /dev/loop0
  assert_status 32 mount /dev/loop0 m
  mkfs.btrfs -q -f /dev/loop0 >/dev/null
  assert_status 32 mount /dev/loop0 m
  losetup -d /dev/loop0
}

below_a_supervisor() {
  mkdir -p m
  truncate -s 8M below.img
  # shellcheck disable=SC2016 # for the inner shell
  assert_eq "$("$TEST_FOLDER/tests/system/helpers/foreign_supervisor" "${engine[@]}" sh -ec 'losetup /dev/loop0 below.img
    mkfs.ext4 -q /dev/loop0; e2fsck -fn /dev/loop0 >/dev/null; ! mount /dev/loop0 m || umount m; echo made' 2>/dev/null)" made
}

ntfs_by_a_single_id() {
  mkdir -p m
  truncate -s 16M a.img
  mkntfs -qFf a.img >/dev/null 2>&1
  # Root has more ids than one here. What refuses is ntfs-3g, which mount(8) calls as its helper.
  if [ "$(awk '{ n += $3 } END { print n }' /proc/self/uid_map)" = 1 ] && mount -o loop -t ntfs a.img m 2>/dev/null; then
    fail "mounted: the README says it would not be"
  fi
  losetup -D
  mount -i -o loop -t ntfs a.img m
  umount m
}

vfat_limits() {
  truncate -s 32M a.img
  mkfs.vfat a.img >/dev/null
  mkdir -p m
  mount -o loop a.img m
  echo one >m/file
  ! chmod 600 m/file 2>/dev/null || fail "chmod works"
  ! chown 0:0 m/file 2>/dev/null || fail "chown works"
  ! echo two >>m/file 2>/dev/null || fail "appending works"
  cp -r m/file m/copy
  umount m
  truncate -s 32M vfat.img
  mkfs.vfat vfat.img >/dev/null
  echo two >text
  mcopy -o -i vfat.img text ::file
  assert_eq "$(mtype -i vfat.img ::file)" two
}

kept_from_user_namespaces() {
  ! mknod null c 1 3 2>/dev/null || fail "mknod works"
  truncate -s 1M a.img
  losetup /dev/loop0 a.img
  mkswap /dev/loop0 >/dev/null
  ! swapon /dev/loop0 2>/dev/null || fail "swapon works"
  mkdir -p m
  ! mount -t devtmpfs none m 2>/dev/null || fail "devtmpfs works"
  losetup -d /dev/loop0
}

no_device_mapper() {
  truncate -s 8M a.img
  losetup /dev/loop0 a.img
  ! dmsetup create loopfs-test --table '0 8 linear /dev/loop0 0' 2>/dev/null || fail "device mapper took /dev/loop0"
  losetup -d /dev/loop0
}

# Here begins the test.
trim() { sed 's/^ *//; s/ *$//'; }
lines=$(awk '/^## What works/ { on = 1 } /^## More/ { on = 0 } on && /^\* /' "$LOOPFS_SOURCE/README.md" | cut -c3-)
while IFS= read -r line; do
  known=
  while IFS='|' read -r start _; do
    start=$(trim <<<"$start")
    [ -z "$start" ] || [ "${line#"$start"}" = "$line" ] || known=$start
  done <<<"$table"
  [ -n "$known" ] || fail "nothing shows what README.md says: $line"
done <<<"$lines"

start_daemon 760000
chmod 0755 .
broken=()
export ENGINE engine
for ENGINE in user kernel; do
  for user in nobody root; do
    options=()
    [ $ENGINE = user ] || options=(--engine kernel --socket "$SOCKET")
    engine=(timeout --kill-after=5 300 "$LOOPFS" run "${options[@]}" --)
    as=()
    [ $user = root ] || as=(setpriv "--reuid=$user" "--regid=$(id -g $user)" --clear-groups)
    while IFS='|' read -r start shown; do
      start=$(trim <<<"$start")
      [ -n "$start" ] || continue
      grep -qF -- "$start" <<<"$lines" || fail "not in README.md any more: $start"
      for what in $shown; do
        case $what in
          nothing | system/*) continue ;;
        esac
        folder=$(mktemp -d "$PWD/XXXXXX")
        chown "$user:" "$folder"
        run=("${engine[@]}")
        [ "$what" = "${what#outside:}" ] || run=()
        # shellcheck disable=SC2016 # for the inner shell
        (cd "$folder" && "${as[@]}" env HOME="$folder" "${run[@]}" bash -c '. "$0"; eval "$1"; shift; "$@"' "$TEST_FOLDER/tests/system/lib.sh" \
          "$(declare -f); $(declare -p engine)"'; engine() { "${engine[@]}" "$@"; }' "${what#outside:}") 2>output ||
          { cat output; broken+=("$ENGINE engine, $user: $what ($start)"); }
        rm -rf "$folder"
        wait_for 10 none_bound
      done
    done <<<"$table"
  done
done
[ ${#broken[@]} -eq 0 ] || fail "$(printf '%s\n' "${broken[@]}")"
end_daemon
