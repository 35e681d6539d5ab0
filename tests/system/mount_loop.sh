#!/usr/bin/env bash
# mount(8) and busybox mount of loop devices: the calls that people write, and the errors that they may get.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 fuse2fs busybox sfdisk findmnt unshare

mkdir content
echo hello >content/file
printf '#!/bin/sh\necho ran\n' >content/program
chmod 755 content/program
truncate -s 16M fs.img
mkfs.ext4 -q -d content fs.img
truncate -s 64M parts.img
printf 'label: gpt\nsize=16M\nsize=16M\n' | sfdisk -q parts.img
dd if=fs.img of=parts.img bs=1M seek=1 conv=notrunc,sparse status=none
dd if=fs.img of=parts.img bs=1M seek=17 conv=notrunc,sparse status=none
ln -s fs.img link.img
mkdir d e
ln -s d dlink
touch plain

refused() { # REGEX MOUNT-ARGUMENT...: and nothing is mounted, nothing stays bound by mount itself
  local regex=$1
  shift
  assert_status 32 mount "$@"
  assert_match "$output" "$regex"
  assert_eq "$(findmnt -n -o SOURCE -M d || true)" ""
}

# What the system call itself says, past the texts of mount(8).
errno_of_mount() { # SOURCE TARGET TYPE FLAGS DATA
  "$TEST_FOLDER/tests/system/helpers/mount_errno" "$@"
}

loop_option() {
  mount -o loop fs.img d
  assert_eq "$(cat d/file)" hello
  assert_eq "$(findmnt -n -o SOURCE -M d)" /dev/loop0
  assert_match "$(losetup -a)" '/dev/loop0: .*fs\.img'
  umount d
  assert_eq "$(losetup -a)" "" "autoclear at umount"
  mount -o loop link.img dlink # names through links
  assert_eq "$(cat d/file)" hello
  umount dlink
  assert_eq "$(losetup -a)" ""
  busybox mount -o loop -t ext4 fs.img d
  assert_eq "$(cat d/file)" hello
  busybox umount d
  assert_eq "$(losetup -a)" "" "busybox's autoclear"
  mount -t auto -o loop fs.img "$PWD/d"
  assert_eq "$(cat d/file)" hello
  umount "$PWD/d"
  mount -t ext4 -o ro,loop,offset=1M,sizelimit=16M parts.img d
  assert_eq "$(cat d/file)" hello
  assert_status 1 touch d/new
  assert_match "$output" 'Read-only'
  umount d
  assert_eq "$(losetup -a)" ""
}

devices() {
  losetup -P /dev/loop0 parts.img
  mount /dev/loop0p1 d
  mount /dev/loop0p2 e
  assert_eq "$(cat d/file e/file | xargs)" "hello hello"
  assert_eq "$(findmnt -n -o SOURCE -M e)" /dev/loop0p2
  echo one >d/one
  [ ! -e e/one ] || fail "two partitions are one"
  umount d e
  losetup -d /dev/loop0
  losetup /dev/loop0 fs.img
  mount /dev/loop0 d
  mount /dev/loop0 e # the same file system once more
  echo shared >d/shared
  assert_eq "$(cat e/shared)" shared
  umount d
  assert_eq "$(cat e/shared)" shared
  losetup -d /dev/loop0 # busy: at the last close
  assert_match "$(losetup -a)" /dev/loop0
  umount e
  assert_eq "$(losetup -a)" ""
}

flags() {
  mount -o loop,nosuid,noexec,noatime fs.img d
  assert_match "$(findmnt -n -o OPTIONS -M d)" 'nosuid'
  assert_match "$(findmnt -n -o OPTIONS -M d)" 'noatime'
  assert_status 126 d/program
  umount d
  mount -o loop fs.img d
  assert_eq "$(d/program)" ran
  umount d
}

errors() {
  losetup /dev/loop0 fs.img
  losetup -r /dev/loop1 fs.img
  mkdir -p held
  assert_eq "$(errno_of_mount /dev/loop0 missing ext4 0 '')" ENOENT
  assert_eq "$(errno_of_mount /dev/loop0 plain ext4 0 '')" ENOTDIR
  assert_eq "$(errno_of_mount /dev/loop0 d vfat 0 '')" EINVAL
  assert_eq "$(errno_of_mount /dev/loop0 d ext4 0 'no_such_option')" EINVAL
  assert_eq "$(errno_of_mount /dev/loop1 d ext4 0 '')" EACCES
  assert_eq "$(errno_of_mount /dev/nothing d ext4 0 '')" ENOENT
  assert_eq "$(errno_of_mount plain d ext4 0 '')" ENOTBLK
  refused 'wrong fs type|bad option' -t vfat /dev/loop0 d
  refused 'bad option' -o no_such_option /dev/loop0 d
  refused 'mount point does not exist|No such' /dev/loop0 missing
  refused 'not a directory' /dev/loop0 plain
  mount /dev/loop1 d # falls back to read-only
  assert_match "$(findmnt -n -o OPTIONS -M d)" '(^|,)ro(,|$)'
  umount d
  losetup -d /dev/loop1
  losetup /dev/loop5 fs.img
  losetup -d /dev/loop5
  assert_eq "$(errno_of_mount /dev/loop5 d ext4 0 '')" EIO "unbound"
  # an exclusive holder
  exec {holder}< <(exec "$TEST_FOLDER/tests/system/helpers/mount_errno" --hold /dev/loop0)
  read -r -u "$holder" line
  assert_eq "$line" held
  assert_eq "$(errno_of_mount /dev/loop0 d ext4 0 '')" EBUSY
  kill $!
  exec {holder}<&-
  losetup -d /dev/loop0
  wait_for 5 nothing_bound
}

places() {
  losetup /dev/loop0 fs.img
  exec {directory}<d
  # shellcheck disable=SC2016 # for the inner shell
  bash -c 'exec 9<d; '"$TEST_FOLDER"'/tests/system/helpers/mount_errno /dev/loop0 /proc/self/fd/9 ext4 0 ""' >result
  exec {directory}<&-
  assert_eq "$(cat result)" 0
  assert_eq "$(cat d/file)" hello
  umount d
  # a mount namespace of its own in the sandbox
  # shellcheck disable=SC2016 # for the inner shell
  unshare -m bash -ec 'mount /dev/loop0 d; [ "$(cat d/file)" = hello ]'
  assert_eq "$(findmnt -n -o SOURCE -M d || true)" ""
  wait_for 5 mount /dev/loop0 d
  umount d
  # inside chroot, with its own paths
  mkdir -p root/{bin,dev,proc,mnt}
  cp "$(command -v busybox)" root/bin/busybox
  mount --rbind /dev root/dev
  mount --make-rslave root/dev
  mount -t proc proc root/proc
  chroot root /bin/busybox mount -t ext4 /dev/loop0 /mnt
  assert_eq "$(cat root/mnt/file)" hello
  chroot root /bin/busybox umount /mnt
  umount root/proc
  umount -l root/dev # what came from above is locked together: not one by one
  losetup -d /dev/loop0
  # without the right to mount
  losetup /dev/loop0 fs.img
  assert_eq "$(setpriv --bounding-set -all --inh-caps -all "$TEST_FOLDER/tests/system/helpers/mount_errno" /dev/loop0 d ext4 0 '')" EPERM
  losetup -d /dev/loop0
}

for part in loop_option devices flags errors places; do in_sandbox "$part"; done
